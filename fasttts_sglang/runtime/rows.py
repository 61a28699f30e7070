"""Turns branches into SGLang requests, the decode rows of a search."""

import copy
from collections.abc import Iterable
from typing import Any

from sglang.srt.managers.schedule_batch import Req
from sglang.srt.sampling.sampling_params import SamplingParams

from ..errors import BadRequest
from .active_search import Row

_PREFIX = "fasttts/"


class RowFactory:
    """Builds child rows and puts them into the scheduler's waiting queue.

    A child enters as a request whose prompt is all of its parent's tokens. The radix cache holds
    their KV, so its prefill computes one token.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        return tuple(self._scheduler.model_config.hf_eos_token_id or ())

    def path_budget(self, prompt_tokens: int, max_tokens: int) -> int:
        """Response tokens a path may have.

        The context length cuts it silently, as it does for any request; a KV pool in which not
        even one path fits is refused, because no schedule could ever finish the search.

        Raises:
            BadRequest: The prompt or one path does not fit.
        """
        scheduler = self._scheduler
        context = scheduler.model_config.context_len
        if prompt_tokens < 1:
            raise BadRequest("prompt", "is empty")
        if prompt_tokens + 2 > context:
            raise BadRequest(
                "prompt", f"{prompt_tokens} tokens exceed the model's context of {context}"
            )
        budget = min(max_tokens, context - prompt_tokens - 1)
        capacity = scheduler.max_total_num_tokens - 2  # SGLang's own admission keeps a margin
        if prompt_tokens + budget > capacity:
            raise BadRequest(
                "max_tokens",
                f"one path of {prompt_tokens} prompt and {budget} response tokens exceeds the"
                f" generator's KV cache of {scheduler.max_total_num_tokens} tokens",
            )
        return budget

    @staticmethod
    def prefix(rid: str) -> str:
        """What the request ids of all rows of search `rid` begin with."""
        return f"{_PREFIX}{rid}/"

    def enqueue_all(self, rows: Iterable[Row]) -> None:
        """Queue `rows` in the given order."""
        for row in rows:
            self.enqueue(row)

    def enqueue(self, row: Row) -> None:
        """Queue `row` for its next step."""
        scheduler, search = self._scheduler, row.search
        params = copy.copy(self._sampling_params(row))
        params.sampling_seed = row.branch.seed
        params.max_new_tokens = row.max_new_tokens
        req = Req(
            self.prefix(search.rid) + ".".join(map(str, row.branch.path)),
            "",
            row.prompt_ids(),
            params,
            eos_token_ids=scheduler.model_config.hf_eos_token_id,
            vocab_size=scheduler.model_config.vocab_size,
            disagg_mode=scheduler.disaggregation_mode,
        )
        req.tokenizer = scheduler.tokenizer
        req.fasttts = row
        scheduler._set_or_validate_priority(req)
        # Not _add_request_to_queue: its limit is for clients' requests, ours are admitted already.
        scheduler.waiting_queue.append(req)
        req.time_stats.set_wait_queue_entry_time()

    def _sampling_params(self, row: Row) -> SamplingParams:
        """SGLang's form of the search's parameters, made once per search and kind of row."""
        search = row.search
        template: SamplingParams | None = search.sampling.get(row.to_the_end)
        if template is None:
            wanted = search.params
            free = row.to_the_end or search.replay is not None
            template = SamplingParams(
                temperature=wanted.temperature,
                top_p=wanted.top_p,
                top_k=wanted.top_k,
                stop=None if free else list(wanted.stop),
                stop_token_ids=None if free else list(wanted.stop_token_ids),
                ignore_eos=search.replay is not None,
            )
            template.normalize(self._scheduler.tokenizer)
            search.sampling[row.to_the_end] = template
        return template
