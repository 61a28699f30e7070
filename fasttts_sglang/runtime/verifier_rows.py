"""The verifier's requests to SGLang, and the KV memory that they use."""

from array import array
from collections.abc import Sequence
from typing import Any

import torch
from sglang.srt.managers.overlap_utils import resolve_forward_inputs
from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
from sglang.srt.sampling.sampling_params import SamplingParams
from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

from .kv_paths import KvEnd, KvPaths
from .req_copies import another
from .verifier_worker import VerifierWorker

_SAMPLING = SamplingParams(max_new_tokens=0)  # nothing is drawn


class VerifierRows:
    """Begins and ends them on the verifier's own pool and radix cache."""

    def __init__(self, worker: VerifierWorker, future_map: Any) -> None:
        self._runner = worker.model_runner
        self._tree = worker.tree
        self._allocator = self._runner.token_to_kv_pool_allocator
        self._paths = KvPaths(worker.tree)
        self._future_map = future_map
        self._count = 0
        self._first = Req("fasttts-verifier", "", array("q"), _SAMPLING)

    @property
    def room(self) -> int:
        """KV slots that are free or can be made free."""
        return int(self._allocator.available_size() + self._tree.evictable_size())

    def request(self, token_ids: Any, limit: int, known: KvEnd | None = None) -> Req:
        """A locked request that reuses cached KV up to `limit`, at once if it is `known`.

        KV behind the first unknown score may be cached too, but the values at its step ends are
        not, so it is computed again.
        """
        self._count += 1
        req = another(self._first, f"fasttts-verifier-{self._count}", token_ids, _SAMPLING)
        req.init_next_round_input(None)
        slots = self._paths.slots(known)
        if known is None or slots is None:
            known = self._paths.find(token_ids, max(limit, 0))
            slots = self._paths.slots(known)
        if slots is None:
            slots = torch.empty(0, dtype=torch.int64, device=self._runner.device)
        self._paths.hold(req, known, slots)
        return req

    def prefill(self, reqs: list[Req]) -> ScheduleBatch:
        """A batch that computes what `reqs` have not cached."""
        batch = ScheduleBatch.init_new(
            reqs,
            self._runner.req_to_token_pool,
            self._allocator,
            self._tree,
            self._runner.model_config,
            False,
            SpeculativeAlgorithm.from_string(None),
        )
        batch.prepare_for_extend()
        resolve_forward_inputs(batch, self._future_map)
        return batch

    def release(self, reqs: Sequence[Req], *, keep: bool) -> list[KvEnd]:
        """Let rows go; returns where their KV ends in the tree."""
        there = [req for req in reqs if req.req_pool_idx is not None]
        for req in reqs:
            if req.req_pool_idx is None:  # the forward never got its memory
                self._tree.dec_lock_ref(req.last_node)
        lengths = [
            len(req.origin_input_ids) + len(req.output_ids) if keep else None for req in there
        ]
        with self._paths.freeing_together():
            return self._paths.update((), list(zip(there, lengths, strict=True)))[1]

    def clear(self) -> None:
        """Forget all cached KV."""
        self._tree.reset()
        self._runner.req_to_token_pool.clear()
        self._allocator.clear()

    def pool(self) -> dict[str, int]:
        """Tokens of the KV pool by state."""
        free, cached = self._allocator.available_size(), self._tree.evictable_size()
        used = self._runner.max_total_num_tokens - free - cached
        return {"used": used, "cached": cached, "free": free}

    def leak(self) -> str | None:
        """What is missing from the pool while nothing runs, or None."""
        available, evictable = self._allocator.available_size(), self._tree.evictable_size()
        total = self._runner.max_total_num_tokens
        rows = self._runner.req_to_token_pool
        if available + evictable == total and rows.available_size() == rows.size:
            return None
        return (
            f"verifier KV leak: {total=} {available=} {evictable=}"
            f" rows={rows.size} free rows={rows.available_size()}"
        )
