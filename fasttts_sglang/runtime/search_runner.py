"""Drives searches inside the scheduler: rounds become decode rows, finished rows become scores.

Every decision is a function of the messages received and the tokens produced, so all tensor
parallel ranks take the same ones. The wall clock is only reported, never consulted.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sglang.srt.managers.io_struct import AbortReq
from sglang.srt.managers.schedule_batch import FINISH_ABORT, Req

from ..config import FastTTSConfig
from ..errors import BadRequest, FastTTSError, SearchFailed
from .active_search import ActiveSearch
from .live_paths import LivePaths
from .messages import ScoreMessage, SearchDone, SearchMessage, SearchProgress, StopSearch
from .new_search import SearchFactory
from .offload_build import GENERATOR, VERIFIER, build_offload
from .prefix_order import PrefixOrder
from .row import Row, only_rows
from .row_requests import prefix
from .rows import RowFactory
from .score_requests import ScoreRequests
from .slots import Slots
from .step_scorer import StepScorer
from .verifier import Verifier
from .verifier_runner import VerifierRunner

logger = logging.getLogger(__name__)

BURST_RESERVE = 32  # KV slots per row under which every step is looked at


class SearchRunner:
    """All searches of one scheduler. Hooks call in; nothing raises out."""

    def __init__(
        self,
        scheduler: Any,
        config: FastTTSConfig,
        verifier: Verifier | None,
        rows: RowFactory | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._config = config
        self.verifier = verifier
        self.scores = ScoreRequests(verifier, self._reply)
        self._rows = rows = rows or RowFactory(scheduler)
        self._searches = SearchFactory(scheduler, config, verifier, rows)
        self._scorer = StepScorer(verifier, self._is_live, self._guarded, self._fail)
        self._queue: deque[ActiveSearch] = deque()  # admitted, waiting for a place
        self._live: dict[str, ActiveSearch] = {}
        self.order: PrefixOrder | None = None
        live = LivePaths(lambda: list(self._live.values()))
        if config.prefix_order:
            self.order = PrefixOrder(scheduler, live)
            self.order.keep_what_is_needed(verifier)
            self._rows.requests.priority = self.order.priority
        self.offloads = build_offload(scheduler, verifier, live, config)
        self.offload = self._rows.offload = self.offloads.get(GENERATOR)
        if VERIFIER in self.offloads:
            assert isinstance(verifier, VerifierRunner)
            verifier.offload = self.offloads[VERIFIER]
            verifier.offload.priority = verifier.priority
        if self.offload is not None:
            self.offload.priority = self._rows.requests.priority
        self._slots = Slots(scheduler, self._rows, self.order)
        self._dropped: list[str] = []  # searches whose rows must still leave the scheduler

    @property
    def num_live(self) -> int:
        return len(self._live)

    @property
    def verifier_s(self) -> float:
        """Seconds spent in the verifier, or waiting for it, so far."""
        return self._scorer.seconds

    @property
    def num_queued(self) -> int:
        return len(self._queue)

    def searches(self) -> Iterator[ActiveSearch]:
        """All that are running or queued."""
        yield from self._live.values()
        yield from self._queue

    # -- called by hooks ---------------------------------------------------------------

    def admit(self, message: SearchMessage) -> None:
        """A search has arrived. It is refused here or queued; `step` starts it."""
        try:
            if not message.rid or any(search.rid == message.rid for search in self.searches()):
                raise BadRequest("rid", f"{message.rid!r} is missing or already in use")
            self._queue.append(self._searches.make(message, self))
        except BadRequest as exc:
            self._reply(message, SearchDone(rid=message.rid, error=str(exc), error_field=exc.field))
        except Exception as exc:
            logger.exception("search %s could not be admitted", message.rid)
            self._reply(message, SearchDone(rid=message.rid, error=f"internal error: {exc!r}"))

    def cancel(self, rid: str, *, everything: bool = False) -> None:
        """The client of search or score request `rid` is gone."""
        self.scores.cancel(rid, everything=everything)
        for search in [*self._live.values(), *self._queue]:
            if everything or search.rid == rid:
                self._close(search, SearchDone(rid=search.rid, error="the search was cancelled"))

    def stop(self, message: StopSearch) -> None:
        """The time of a search is up: reply with what it has."""
        for search in [*self._live.values(), *self._queue]:
            if search.rid != message.rid:
                continue
            try:
                search.stop("time_budget_s")
                self._close(search, search.result(search.tree.candidates or ()))
            except Exception as exc:
                self._fail(search, exc)

    def on_token(self, req: Req) -> None:
        """A row has got a token and may end with it. Runs inside the batch loop."""
        row: Row = req.fasttts
        search = row.search
        try:
            if not 0 <= req.output_ids[-1] < req.vocab_size:
                raise SearchFailed(f"the generator returned token {req.output_ids[-1]}")
            ended = not self._is_live(search) or search.on_token(row)
        except Exception as exc:
            self._fail(search, exc)
            ended = True
        if ended:
            search.rows.pop(row, None)
            self._rows.finish(req)

    def publish(self, row: Row) -> None:
        """Put what `row` has decoded into the cache, just before SGLang retracts it."""
        self._rows.publish(row)

    def let_go(self, rows: Sequence[Row]) -> bool:
        """Rows have ended amid a batch: keep their KV cached, unless SGLang must do it."""
        return self._rows.let_go(rows)

    def take_finished(self, reqs: Iterable[Req]) -> None:
        """SGLang ended some of these rows on its own?"""
        for req in reqs:
            if isinstance(req.finished_reason, FINISH_ABORT):
                self.row_aborted(req, req.finished_reason.message)

    def row_aborted(self, req: Req, message: str | None) -> None:
        """SGLang dropped a waiting row: the queue timed out, memory ran out, or a client left."""
        row: Row = req.fasttts
        if self._is_live(row.search):
            self._fail(row.search, SearchFailed(message or "a row of the search was aborted"))

    def step(self, running: Any) -> Any:
        """Move every search as far as it goes without waiting. Runs before each batch.

        Args:
            running: SGLang's running batch.

        Returns:
            The batch to go on with; new rows were merged into it.
        """
        for rid in self._dropped:
            self._scheduler.abort_request(AbortReq(rid=prefix(rid)))
        self._dropped.clear()
        for offload in self.offloads.values():
            offload.forget_dead()
        if not self._live and not self._queue and not self.scores.busy:
            self._scorer.take()  # drops what nobody waits for
            if self.verifier is not None and self.verifier.busy:
                self.verifier.step()
            return running
        if self._queue and len(self._live) < self._config.max_searches:
            while self._queue and len(self._live) < self._config.max_searches:
                search = self._queue.popleft()
                self._live[search.rid] = search
                self._guarded(search, self._begin)
            self._tell_positions()
        in_use = self._rows.used_tokens
        for search in self._live.values():
            search.count_slots(in_use)
        began, waited = time.perf_counter(), self.verifier_s
        running = self._move(running)
        while self._only_the_verifier_works(running):
            self._scorer.wait()
            running = self._move(running)
        own_s = time.perf_counter() - began - (self.verifier_s - waited)
        for search in self._live.values():
            search.timing["scheduling_s"] += own_s
        return running

    def steps_at_once(self, batch: Any) -> int:
        """Decode steps that SGLang's running `batch` may do before anybody looks at it."""
        steps, scheduler, rows = self._config.decode_burst, self._scheduler, batch.batch_size()
        if steps == 1 or scheduler.chunked_req is not None:
            return 1
        if not only_rows(scheduler.waiting_queue):
            return 1
        if not batch.spec_algorithm.is_none():
            return 1
        if not any(search.tree.num_decoding for search in self._live.values()):
            return 1  # all wait for scores, and with them for the next look
        if not only_rows(batch.reqs):
            return 1
        longest = int(batch.seq_lens_cpu.max())
        fits = longest + 2 * steps < scheduler.model_config.context_len
        room = self._rows.free_tokens >= (BURST_RESERVE + steps) * rows
        return steps if fits and room else 1

    def count_steps(self, more: int) -> None:
        """The batch does so many steps more than `step` has counted."""
        in_use = self._rows.used_tokens
        for search in self._live.values():
            search.count_slots(in_use, more)

    def _tell_positions(self) -> None:
        """Let the clients of queued searches know how many are before theirs."""
        for position, search in enumerate(self._queue, 1):
            if search.message.report_progress:
                progress = SearchProgress(rid=search.rid, progress=search.progress(position))
                self._reply(search.message, progress)

    def _only_the_verifier_works(self, running: Any) -> bool:
        """SGLang would go to sleep."""
        idle = running.is_empty() and not self._scheduler.waiting_queue
        return idle and self._scorer.busy

    def _move(self, running: Any) -> Any:
        if self._scorer.busy:
            self._scorer.go_on()
        if self.scores.busy:
            self.scores.step()
        due = [search for search in self._live.values() if search.scoring.due()]
        if due:
            self._scorer.score([s for s in self._live.values() if s in due or s.scoring.eager])
        for search in list(self._live.values()):
            if search.changed and search.prefilled:
                self._guarded(search, self._advance)
        try:
            return self._slots.assign(list(self._live.values()), running)
        except Exception as exc:  # nothing may reach the batch loop
            for search in list(self._live.values()):
                self._fail(search, exc)
            return running

    # -- one search --------------------------------------------------------------------

    def _begin(self, search: ActiveSearch) -> None:
        """Prefill the prompt once in both models; the first round then hits the caches."""
        search.begin()
        self._rows.enqueue(search.prompt_row())
        if self.verifier is not None:
            self.verifier.score([search.scoring.prompt_job()])

    def _advance(self, search: ActiveSearch) -> None:
        while self._is_live(search):
            losers = search.advance()
            if losers is None:
                return
            for row in losers:
                self._slots.drop(row)
            if search.tree.candidates is not None:
                for row in list(search.rows):
                    self._slots.drop(row)
                self._close(search, search.result(search.tree.candidates))
                return
            if search.message.report_progress:
                progress = SearchProgress(rid=search.rid, progress=search.progress())
                self._reply(search.message, progress)
            if search.scoring.due():
                self._scorer.score([search])

    def _is_live(self, search: ActiveSearch) -> bool:
        return self._live.get(search.rid) is search  # the id may have been used again

    def _guarded(self, search: ActiveSearch, act: Any) -> None:
        if not self._is_live(search):
            return
        try:
            act(search)
        except Exception as exc:
            self._fail(search, exc)

    def _fail(self, search: ActiveSearch, exc: Exception) -> None:
        if not isinstance(exc, FastTTSError):
            logger.error("search %s failed", search.rid, exc_info=exc)
        error = str(exc) if isinstance(exc, FastTTSError) else f"internal error: {exc!r}"
        self._close(search, SearchDone(rid=search.rid, error=error))

    def _close(self, search: ActiveSearch, outcome: SearchDone) -> None:
        if self._live.pop(search.rid, None) is None:
            self._queue.remove(search)
        elif search.rows:
            self._dropped.append(search.rid)  # acted on by `step`: we may be inside a batch loop
        self._reply(search.message, outcome)

    def _reply(self, message: SearchMessage | ScoreMessage, output: Any) -> None:
        self._scheduler.ipc_channels.send_to_tokenizer.send_output(output, message)
