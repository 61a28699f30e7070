"""Scores steps: only what is new is computed, every step of every sequence in one pass."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from sglang.srt.managers.overlap_utils import resolve_forward_inputs
from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
from sglang.srt.mem_cache.base_prefix_cache import MatchPrefixParams
from sglang.srt.mem_cache.common import release_kv_cache
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.sampling.sampling_params import SamplingParams
from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

from ..errors import BadRequest, SearchFailed
from ..verifier.score_cache import ScoreCache
from .reading import ScoreJob
from .verifier import Immediate
from .verifier_order import leaders
from .verifier_worker import MAX_ROWS, VerifierWorker


class VerifierRunner(Immediate):
    """Runs the verifier in small prefill batches on its own KV pool and radix cache."""

    def __init__(
        self, worker: VerifierWorker, future_map: Any, batch_tokens: int, cache: ScoreCache
    ):
        self.worker = worker
        self.tree = worker.tree
        self.cache = cache
        self.renderer = worker.renderer
        self._future_map = future_map
        self._batch_tokens = batch_tokens
        self._runner = worker.model_runner
        self._allocator = self._runner.token_to_kv_pool_allocator
        self._count = 0
        self.priority: int | None = None  # of searches' requests, see PrefixOrder
        self._reserve = 0  # tokens that must stay free behind a path

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

    def score(self, jobs: Sequence[ScoreJob]) -> None:
        """Fill in `scores` of every job. A job without ends only brings its KV into the cache.

        Equal sequences are scored once: another place in a batch may round differently, and beams
        that hold the same tokens must tie exactly.

        Raises:
            SearchFailed: A sequence does not fit into the verifier's KV cache.
        """
        first: dict[bytes, ScoreJob] = {}
        todo: list[ScoreJob] = []
        twins: list[ScoreJob] = []
        for job in jobs:
            job.recomputed = job.kv_in_use = 0
            if not job.ends:
                todo.append(job)
            elif not self._from_cache(job):
                known = first.setdefault(job.keys[-1], job)
                (todo if known is job else twins).append(job)
        self._compute(todo)
        self._compute([job for job in twins if not _copy(first[job.keys[-1]], job)])

    def _compute(self, todo: Sequence[ScoreJob]) -> None:
        if not todo:
            return
        with self.worker.own_config():
            while todo:
                evicts = getattr(self.tree.eviction_strategy, "evicts", False)
                batch = leaders(self.tree, todo) if evicts else todo
                done = set(map(id, batch[: self._score_some(batch)]))
                todo = [job for job in todo if id(job) not in done]

    def flush(self) -> None:
        """Forget all cached KV; scores of equal tokens stay valid."""
        self.tree.reset()
        self._runner.req_to_token_pool.clear()
        self._allocator.clear()

    def pool(self) -> dict[str, int]:
        """Tokens of the KV pool by state."""
        free, cached = self._allocator.available_size(), self.tree.evictable_size()
        used = self._runner.max_total_num_tokens - free - cached
        return {"used": used, "cached": cached, "free": free}

    def leak(self) -> str | None:
        """What is missing from the pool while nothing runs, or None."""
        available, evictable = self._allocator.available_size(), self.tree.evictable_size()
        total = self._runner.max_total_num_tokens
        rows = self._runner.req_to_token_pool
        if available + evictable == total and rows.available_size() == rows.size:
            return None
        return (
            f"verifier KV leak: {total=} {available=} {evictable=}"
            f" rows={rows.size} free rows={rows.available_size()}"
        )

    def _from_cache(self, job: ScoreJob) -> bool:
        known = [self.cache.get(key) for key in job.keys]
        job.scores = [score for score in known if score is not None]
        if len(job.scores) == len(known):
            return True
        job.scores = []
        for score in known:  # the known head stands; from the first gap on all is computed
            if score is None:
                break
            job.scores.append(score)
        return False

    def _score_some(self, jobs: Sequence[ScoreJob]) -> int:
        """Score as many jobs from the front as one forward takes; return how many."""
        reqs: list[Req] = []
        try:
            self._admit(jobs, reqs)
            batch = self._prefill(reqs)
            in_use = self.pool()["used"]
            for job in jobs[: len(reqs)]:
                job.kv_in_use = in_use
            values = self._forward(batch)
            self._read(jobs[: len(reqs)], reqs, values)
        except BaseException:
            self._release(reqs, keep=False)
            raise
        self._release(reqs, keep=True)
        return len(reqs)

    def _prefill(self, reqs: list[Req]) -> ScheduleBatch:
        """A batch that computes what `reqs` have not cached."""
        batch = ScheduleBatch.init_new(
            reqs,
            self._runner.req_to_token_pool,
            self._allocator,
            self.tree,
            self._runner.model_config,
            False,
            SpeculativeAlgorithm.from_string(None),
        )
        batch.prepare_for_extend()
        resolve_forward_inputs(batch, self._future_map)
        return batch

    def _forward(self, batch: ScheduleBatch) -> torch.Tensor:
        """What the verifier's head makes of the batch."""
        output, _ = self.worker.forward_batch_embedding(batch)
        return output.embeddings

    def _request(self, token_ids: Any, limit: int) -> Req:
        """A locked request that reuses cached KV up to `limit`."""
        self._count += 1
        req = Req(
            f"fasttts-verifier-{self._count}", "", token_ids, SamplingParams(max_new_tokens=0)
        )
        req.init_next_round_input(None)
        self._match(req, limit)
        self.tree.inc_lock_ref(req.last_node)
        return req

    def _admit(self, jobs: Sequence[ScoreJob], reqs: list[Req]) -> None:
        num_tokens = 0
        for job in jobs[:MAX_ROWS]:
            req = self._request(job.token_ids, job.first_unknown - 1)
            req.priority = self.priority if job.of_search else None
            extend = len(job.token_ids) - len(req.prefix_indices)
            room = self._allocator.available_size() + self.tree.evictable_size()
            fits = num_tokens + extend <= room
            if not fits or (reqs and num_tokens + extend > self._batch_tokens):
                self.tree.dec_lock_ref(req.last_node)
                if reqs:
                    return
                raise SearchFailed(
                    f"a sequence of {len(job.token_ids)} tokens does not fit into the verifier's"
                    f" KV cache of {self._runner.max_total_num_tokens} tokens"
                )
            req.set_extend_range(len(req.prefix_indices), len(job.token_ids))
            reqs.append(req)
            num_tokens += extend
            job.computed, job.cached = extend, len(req.prefix_indices)
            if job.ends:  # else it brings in a prompt
                job.recomputed = max(0, job.begin_unknown - job.cached)

    def _match(self, req: Req, limit: int) -> None:
        """Reuse cached KV up to `limit`.

        KV behind the first unknown score may be cached too, but the values at its step ends are
        not, so it is computed again.
        """
        key = RadixKey(req.full_untruncated_fill_ids, limit=max(limit, 0))
        match = self.tree.match_prefix(MatchPrefixParams(key=key))
        req.prefix_indices, req.last_node = match.device_indices, match.last_device_node
        req.cache_protected_len = len(req.prefix_indices)

    def _read(self, jobs: Sequence[ScoreJob], reqs: Sequence[Req], values: torch.Tensor) -> None:
        """Pick the scores out of `values`, one per computed token of the batch, row after row."""
        places, begin = [], 0
        for job, req in zip(jobs, reqs, strict=True):
            cached = len(req.prefix_indices)
            places += [begin + end - 1 - cached for end in job.ends[len(job.scores) :]]
            begin += len(job.token_ids) - cached
        if not places:
            return
        read = iter(values[torch.tensor(places, device=values.device)].tolist())
        for job in jobs:
            for key in job.keys[len(job.scores) :]:
                score = next(read)
                job.scores.append(score)
                if math.isfinite(score):
                    self.cache.put(key, score)

    def _release(self, reqs: Sequence[Req], *, keep: bool) -> None:
        for req in reqs:
            if req.req_pool_idx is not None:
                release_kv_cache(req, self.tree, is_insert=keep)
            else:  # the forward never got its memory
                self.tree.dec_lock_ref(req.last_node)


def _copy(known: ScoreJob, job: ScoreJob) -> bool:
    """Take the scores of `known`, whose tokens are the same; False if it has not all of them."""
    scores = dict(zip(known.keys, known.scores, strict=True))
    if not all(key in scores for key in job.keys):
        return False
    job.scores = [scores[key] for key in job.keys]
    return True
