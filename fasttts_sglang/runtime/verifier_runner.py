"""Scores steps: only what is new is computed, every step of every sequence in one pass."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sglang.srt.managers.schedule_batch import Req, ScheduleBatch

from ..errors import BadRequest
from ..verifier.score_cache import ScoreCache
from .lane import Lane, Values
from .offload import Offload
from .reading import ScoreJob
from .verifier_order import front, leaders
from .verifier_queue import VerifierQueue
from .verifier_rows import VerifierRows
from .verifier_worker import MAX_ROWS, VerifierWorker

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Flight:
    """A batch that is being computed."""

    jobs: list[ScoreJob]
    reqs: list[Req]
    values: Values  # one for each step without a score, job after job


class VerifierRunner:
    """Runs the verifier in small prefill batches on its own KV pool and radix cache.

    On a GPU a batch runs on a stream of its own, beside the generator's decode steps: `score` only
    launches it, `step` takes the scores when they are there.
    """

    def __init__(
        self, worker: VerifierWorker, future_map: Any, batch_tokens: int, cache: ScoreCache
    ):
        self.worker = worker
        self.tree = worker.tree
        self.cache = cache
        self.renderer = worker.renderer
        self._batch_tokens, self._max_rows = batch_tokens, MAX_ROWS
        if (graphs := worker.graphs) is not None:
            self._batch_tokens = min(batch_tokens, graphs.max_tokens)
            self._max_rows = graphs.max_rows
        self._runner = worker.model_runner
        self._rows = VerifierRows(worker, future_map)
        self.priority: int | None = None  # of searches' requests, see PrefixOrder
        self.offload: Offload | None = None  # where evicted KV may have gone
        self._reserve = 0  # tokens that must stay free behind a path
        self.lane = Lane(worker)
        self._queue = VerifierQueue(cache)
        self._flight: _Flight | None = None
        self.num_forwards = 0
        self._alone = 0  # jobs from the front of the queue that get a forward each

    def path_budget(self, prompt_tokens: int, max_tokens: int) -> int:
        """Response tokens a path may have so that it can be scored; see RowFactory.path_budget.

        Raises:
            BadRequest: The prompt or one path does not fit.
        """
        context, capacity = self.worker.model_config.context_len, self._runner.max_total_num_tokens
        context, capacity = context - self._reserve, capacity - self._reserve
        if prompt_tokens + 1 > context:
            raise BadRequest(
                "prompt", f"{prompt_tokens} tokens exceed the verifier's context of {context}"
            )
        budget = min(max_tokens, context - prompt_tokens)
        if prompt_tokens + budget > capacity:
            raise BadRequest(
                "max_tokens",
                f"one path of {prompt_tokens} prompt and {budget} response tokens exceeds the"
                f" verifier's KV cache of {capacity} tokens",
            )
        return budget

    @property
    def max_tokens(self) -> int:
        """Longest sequence that can be read."""
        return min(self.worker.model_config.context_len, self._runner.max_total_num_tokens)

    @property
    def busy(self) -> bool:
        """Whether jobs wait or are being computed."""
        return self._flight is not None or not self._queue.idle

    def score(self, jobs: Sequence[ScoreJob]) -> None:
        """Begin to fill in `scores` of every job; without a stream of its own, also end.

        A job without ends only brings its KV into the cache. What fails leaves an `error` in its
        job.
        """
        for job in jobs:
            job.recomputed = job.kv_in_use = 0
            self._queue.add(job)
        self.step()
        while self.lane.synchronous and self.busy:
            self.step()

    def step(self) -> None:
        """Take what is computed, begin with what waits."""
        if self._flight is not None:
            if not self._flight.values.ready():
                return
            self._land(self._flight)
        if not self._queue:
            self._queue.settle_twins()
        if self._queue:
            with self.lane, self.worker.own_config():
                self._flight = self._start()

    def wait(self) -> None:
        """Block until what is being computed is there: nothing else is to be done."""
        if self._flight is not None:
            self._flight.values.wait()

    def drop(self, jobs: Sequence[ScoreJob]) -> None:
        """Forget jobs that nobody waits for; what is being computed ends undisturbed."""
        self._queue.drop(jobs)

    def flush(self) -> None:
        """Forget all cached KV; scores of equal tokens stay valid."""
        while self.busy:
            self.wait()
            self.step()
        with self.lane:
            self._rows.clear()
        self.lane.settle()

    def pool(self) -> dict[str, int]:
        """Tokens of the KV pool by state."""
        return self._rows.pool()

    def leak(self) -> str | None:
        """What is missing from the pool, or None; while something runs nothing can be said."""
        return None if self.busy else self._rows.leak()

    def _start(self) -> _Flight | None:
        """Launch as many jobs from the front as one forward takes."""
        reqs: list[Req] = []
        jobs: list[ScoreJob] = []
        try:
            self.num_forwards += 1
            self._admit(jobs, reqs, self._lead())
            if not jobs:
                return None
            batch = self._rows.prefill(reqs)
            in_use = self.pool()["used"]
            for job in jobs:
                job.kv_in_use = in_use
            values = self._forward(batch)
            return _Flight(jobs, reqs, self.lane.fetch(self._wanted(values, jobs, reqs)))
        except Exception as exc:
            self._give_up(jobs, reqs, exc)
            return None

    def _land(self, flight: _Flight) -> None:
        """Take the scores of `flight` and let its rows go."""
        self._flight = None
        with self.lane, self.worker.own_config():
            try:
                self._read(flight)
            except Exception as exc:  # of the device: what was launched has failed
                self._give_up(flight.jobs, flight.reqs, exc)
                return
            ends = self._rows.release(flight.reqs, keep=True)
        for job, end in zip(flight.jobs, ends, strict=True):
            job.reading.kv = end

    def _give_up(self, jobs: Sequence[ScoreJob], reqs: Sequence[Req], exc: Exception) -> None:
        """A forward failed. Each of its jobs is tried alone: only those at fault shall fail."""
        self._rows.release(reqs, keep=False)
        if not jobs and self._queue:  # none had been chosen yet
            jobs = [self._queue.take()]
        if len(jobs) > 1:
            self._alone += len(jobs)
            self._queue.put_back(jobs)
            return
        for job in jobs:
            self._fail(job, exc)

    def _fail(self, job: ScoreJob, exc: Exception) -> None:
        logger.warning("the verifier failed on %d tokens", len(job.token_ids), exc_info=exc)
        self._queue.done(job)
        job.error = f"the verifier failed: {exc}"

    def _forward(self, batch: ScheduleBatch) -> torch.Tensor:
        """What the verifier's head makes of the batch."""
        return self.worker.values(batch)

    def _lead(self) -> int:
        """Let jobs come first that compute no prefix twice in a batch; returns how many may."""
        if not getattr(self.tree.eviction_strategy, "evicts", False):
            return self._max_rows
        room = self._rows.room
        first = leaders(self.tree, front(self._queue, room // 4))
        self._queue.lead(first)
        return min(len(first), self._max_rows)

    def _admit(self, jobs: list[ScoreJob], reqs: list[Req], most: int) -> None:
        """Move up to `most` jobs from the queue to `jobs`, with a locked request for each."""
        num_tokens = 0
        while self._queue and len(jobs) < most:
            job = self._queue.first
            try:
                self._restore(job, num_tokens)
                req = self._request(job)
            except Exception as exc:
                self._fail(self._queue.take(), exc)
                continue
            extend = len(job.token_ids) - len(req.prefix_indices)
            room = self._rows.room
            fits = num_tokens + extend <= room
            if not fits or (jobs and num_tokens + extend > self._batch_tokens):
                self._rows.release([req], keep=False)
                if jobs:
                    return
                self._queue.take()
                self._queue.done(job)
                job.error = (
                    f"a sequence of {len(job.token_ids)} tokens does not fit into the verifier's"
                    f" KV cache of {self._runner.max_total_num_tokens} tokens"
                )
                continue
            self._queue.take()
            req.set_extend_range(len(req.prefix_indices), len(job.token_ids))
            jobs.append(job)
            reqs.append(req)
            num_tokens += extend
            job.computed, job.cached = extend, len(req.prefix_indices)
            if job.ends:  # else it brings in a prompt
                job.recomputed = max(0, job.begin_unknown - job.cached)
            if self._alone:
                self._alone -= 1
                return

    def _request(self, job: ScoreJob) -> Req:
        known = job.reading.kv
        if known is not None and known.length != job.begin_unknown:
            known = None  # more may be cached, or less must be computed
        req = self._rows.request(job.token_ids, job.first_unknown - 1, known)
        req.priority = self.priority if job.of_search else None
        return req

    def _restore(self, job: ScoreJob, promised: int) -> None:
        """Bring back what is on the host, if there is room for it and what else is computed."""
        if self.offload is not None and job.of_search:
            end = max(0, job.first_unknown - 1)
            reserve = promised + len(job.token_ids) - end
            job.restored += self.offload.restore(job.token_ids, end, reserve)

    def _wanted(
        self, values: torch.Tensor, jobs: Sequence[ScoreJob], reqs: Sequence[Req]
    ) -> torch.Tensor:
        """The scores out of `values`, which has one per computed token, row after row."""
        places, begin = [], 0
        for job, req in zip(jobs, reqs, strict=True):
            cached = len(req.prefix_indices)
            places += [begin + end - 1 - cached for end in job.ends[len(job.scores) :]]
            begin += len(job.token_ids) - cached
        return values[self.lane.put(torch.tensor(places, dtype=torch.int64))]

    def _read(self, flight: _Flight) -> None:
        read = iter(flight.values.tolist())
        for job in flight.jobs:
            for key in job.keys[len(job.scores) :]:
                score = next(read)
                job.scores.append(score)
                if math.isfinite(score):
                    self.cache.put(key, score)
            job.missing = 0
            self._queue.done(job)
