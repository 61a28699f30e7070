"""SGLang's request of a row."""

import copy
import itertools
from array import array
from typing import Any

from sglang.srt.managers.schedule_batch import Req
from sglang.srt.sampling.sampling_params import SamplingParams

from .req_copies import another
from .row import Row

_PREFIX = "fasttts/"


def prefix(rid: str) -> str:
    """What the request ids of all rows of search `rid` begin with."""
    return f"{_PREFIX}{rid}/"


class RowRequests:
    """Makes them for one scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._turns = itertools.count()
        self.priority: int | None = None  # of all of them, see PrefixOrder
        self._first: Req | None = None  # what they are copied from

    def make(self, row: Row) -> Req:
        """A new request that decodes the branch of `row`; the search knows the row from now on."""
        search, branch = row.search, row.branch
        params = copy.copy(self._sampling_params(row))
        params.sampling_seed = branch.seed
        params.max_new_tokens = 1 if row.only_prefill else search.rules.budget - branch.parent_len
        if self._first is None:
            self._first = self._make_first(params)
        rid = prefix(search.rid) + ".".join(map(str, branch.path))
        req = another(self._first, rid, search.prompt + branch.ids, params)
        if branch.partial:
            req.output_ids = branch.partial[:]
        req.fasttts = row
        row.req, branch.row, row.turn = req, row, next(self._turns)
        search.rows[row] = None
        return req

    def _make_first(self, params: SamplingParams) -> Req:
        scheduler = self._scheduler
        req = Req(
            _PREFIX,
            "",
            array("q"),
            params,
            eos_token_ids=scheduler.model_config.hf_eos_token_id,
            vocab_size=scheduler.model_config.vocab_size,
            disagg_mode=scheduler.disaggregation_mode,
            priority=self.priority,
        )
        req.tokenizer = scheduler.tokenizer
        return req

    def _sampling_params(self, row: Row) -> SamplingParams:
        """SGLang's form of the search's parameters. Steps and answers end where we say so."""
        search = row.search
        if search.sampling is None:
            wanted = search.params
            search.sampling = SamplingParams(
                temperature=wanted.temperature,
                top_p=wanted.top_p,
                top_k=wanted.top_k,
                ignore_eos=True,
            )
            search.sampling.normalize(self._scheduler.tokenizer)
        params: SamplingParams = search.sampling
        return params
