"""The tokenizer process's side of a search: texts in, token ids across, a result out."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from sglang.srt.managers.io_struct import AbortReq

from ..config import FastTTSConfig
from ..errors import BadRequest, SearchFailed
from ..mathematics import equality
from ..search.params import SearchParams
from ..search.result import SearchResult
from .messages import (
    MemoryDone,
    MemoryMessage,
    ScoreDone,
    ScoreMessage,
    SearchDone,
    SearchMessage,
    SearchProgress,
    StopSearch,
)
from .metrics import SearchMetrics
from .prompts import Prompt, encode, problem
from .results import Results

Reply = SearchDone | SearchProgress | ScoreDone
OnProgress = Callable[[dict[str, Any]], None]

_MEMORY_S = 10.0  # how long the scheduler has to tell its memory


class SearchClient:
    """Sends searches to the scheduler and assembles results. One per TokenizerManager."""

    def __init__(
        self, manager: Any, config: FastTTSConfig, metrics: SearchMetrics | None = None
    ) -> None:
        self._manager = manager
        self._config = config
        self._metrics = metrics
        self._replies: dict[str, asyncio.Queue[Reply]] = {}
        self._memory: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def search(
        self,
        prompt: Prompt,
        params: SearchParams,
        *,
        rid: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> SearchResult:
        """Run one search. Cancelling the awaiting task cancels the search.

        Raises:
            BadRequest: A field is wrong; nothing was computed.
            SearchFailed: The search ended without a result.
        """
        async for item in self.stream(prompt, params, rid=rid, watch=on_progress is not None):
            if isinstance(item, SearchResult):
                return item
            if on_progress is not None:
                on_progress(item)
        raise SearchFailed("the search ended without a reply")

    async def stream(
        self, prompt: Prompt, params: SearchParams, *, rid: str | None = None, watch: bool = True
    ) -> AsyncIterator[dict[str, Any] | SearchResult]:
        """Progress after each round if `watch`, then the result. Raises as `search` does."""
        with self._metrics.watch(params) if self._metrics else nullcontext() as seen:
            message = self._message(prompt, params, rid, watch)
            self._manager.auto_create_handle_loop()
            replies = self._expect(message.rid)
            done = False
            timer: asyncio.TimerHandle | None = None
            try:
                self._manager._dispatch_to_scheduler(message)
                if params.time_budget_s is not None:
                    send, stop = self._manager._dispatch_to_scheduler, StopSearch(rid=message.rid)
                    loop = asyncio.get_running_loop()
                    timer = loop.call_later(params.time_budget_s, send, stop)
                while not done:
                    reply = await replies.get()
                    if isinstance(reply, SearchProgress):
                        yield reply.progress
                        continue
                    done = True
                    _raise_for(reply)
                    result = await Results(self._manager.tokenizer).make(message, params, reply)
                    if seen is not None:
                        seen(result)
                    yield result
            finally:
                if timer is not None:
                    timer.cancel()
                del self._replies[message.rid]
                if not done:  # the caller went away
                    self._manager._dispatch_to_scheduler(AbortReq(rid=message.rid))

    async def score(
        self, prompt: Prompt, steps: Sequence[str], *, finished: bool = True, rid: str | None = None
    ) -> list[float]:
        """The verifier's scores of the steps of a given response.

        Args:
            steps: Texts, each with what separates it from the next.
            finished: Whether the last step ends the answer.

        Returns:
            Per step, how probable it is that all is right up to there.

        Raises:
            BadRequest: A field is wrong.
            SearchFailed: The verifier failed.
        """
        tokenizer = self._manager.tokenizer
        if tokenizer is None:
            raise BadRequest("steps", "this server has no tokenizer")
        if not steps:
            raise BadRequest("steps", "there are none")
        ids = [list(tokenizer.encode(step, add_special_tokens=False)) for step in steps]
        if finished and tokenizer.eos_token_id is not None:
            ids[-1].append(tokenizer.eos_token_id)
        if empty := [index for index, step in enumerate(ids) if not step]:
            raise BadRequest("steps", f"step {empty[0]} is empty")
        message = ScoreMessage(
            rid=rid or f"score-{uuid.uuid4().hex}",
            prompt_ids=self._encode(prompt),
            problem=problem(prompt),
            steps=ids,
            finished=finished,
        )
        self._manager.auto_create_handle_loop()
        replies = self._expect(message.rid)
        reply = None
        try:
            self._manager._dispatch_to_scheduler(message)
            reply = await replies.get()
        finally:
            del self._replies[message.rid]
            if reply is None:  # the caller went away
                self._manager._dispatch_to_scheduler(AbortReq(rid=message.rid))
        assert isinstance(reply, ScoreDone)
        _raise_for(reply)
        return reply.scores

    def _expect(self, rid: str) -> asyncio.Queue[Reply]:
        if rid in self._replies:
            raise BadRequest("rid", f"{rid!r} is already in use")
        self._replies[rid] = asyncio.Queue()
        return self._replies[rid]

    @property
    def default_search(self) -> dict[str, Any] | None:
        """Search parameters for OpenAI requests that give none; None: those are no searches."""
        return self._config.default_params

    @property
    def served_model(self) -> str:
        """The generator's name to clients."""
        name: str = self._manager.served_model_name
        return name

    def status(self) -> dict[str, Any]:
        """Searches in flight and the configuration, for whoever operates the server."""
        return {"searches": len(self._replies), "config": asdict(self._config)}

    async def memory(self) -> dict[str, Any] | None:
        """The plan for the KV memory of both models and how full it is; None if none is told.

        A scheduler that is in the middle of a forward answers after it.
        """
        message = MemoryMessage(rid=f"memory-{uuid.uuid4().hex}")
        self._manager.auto_create_handle_loop()
        reply = self._memory[message.rid] = asyncio.get_running_loop().create_future()
        try:
            self._manager._dispatch_to_scheduler(message)
            return await asyncio.wait_for(reply, _MEMORY_S)
        except TimeoutError:
            return None
        finally:
            del self._memory[message.rid]

    def on_memory(self, reply: MemoryDone) -> None:
        """The scheduler has told its memory."""
        if (waiting := self._memory.get(reply.rid)) is not None and not waiting.done():
            waiting.set_result(reply.memory)

    def on_done(self, reply: SearchDone) -> None:
        """A search has ended."""
        self._deliver(reply)

    def on_progress(self, reply: SearchProgress) -> None:
        """A round of a search is complete."""
        self._deliver(reply)

    def on_scores(self, reply: ScoreDone) -> None:
        """Given steps are scored."""
        self._deliver(reply)

    def _deliver(self, reply: Reply) -> None:
        if (queue := self._replies.get(reply.rid)) is not None:  # else its client is gone
            queue.put_nowait(reply)

    def _message(
        self, prompt: Prompt, params: SearchParams, rid: str | None, watch: bool
    ) -> SearchMessage:
        if params.grouping == "math" and not equality.available():
            raise BadRequest("grouping", equality.MISSING)
        return SearchMessage(
            rid=rid or f"search-{uuid.uuid4().hex}",
            prompt_ids=self._encode(prompt),
            problem=problem(prompt),
            params=params.to_dict(),
            report_progress=watch,
        )

    def _encode(self, prompt: Prompt) -> list[int]:
        return encode(prompt, self._manager.tokenizer, self._manager.model_config.vocab_size)


def _raise_for(reply: SearchDone | ScoreDone) -> None:
    """Raise what the scheduler replied instead of a result."""
    if reply.error_field is not None:
        field, _, text = (reply.error or "").partition(": ")
        raise BadRequest(field, text)
    if reply.error is not None:
        raise SearchFailed(reply.error)
