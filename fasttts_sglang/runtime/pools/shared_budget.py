"""Two pools under one budget, inside the scheduler: who asks for another split, and how."""

import logging
from collections.abc import Iterable
from itertools import chain
from typing import Any

from sglang.srt.mem_cache.allocator import TokenToKVPoolAllocator
from sglang.srt.mem_cache.radix_cache import RadixCache

from ...errors import FastTTSError, InsufficientMemory
from ...memory.rebalance import Decide, Load, Rebalancer, equal_tokens
from ...memory.resize import Resizer
from ..verdicts import GenerativeVerifier
from . import capacity, needs
from .backing import Backing
from .elastic_pool import ElasticPool

logger = logging.getLogger(__name__)

LOOK = 64  # batches between two looks at the workload
GENERATOR, VERIFIER = "generator", "verifier"


class SharedBudget:
    """Moves KV memory between the generator and the verifier, between two batches.

    The budget is what both pools have at the start.

    Args:
        scheduler: SGLang's, with `fasttts`, our SearchRunner.
        backings: Of the generator's and the verifier's pool.
        decide: Chooses the split for a workload; None gives both models as many tokens.
    """

    def __init__(
        self,
        scheduler: Any,
        backings: tuple[Backing, Backing],
        decide: Decide | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._searches = scheduler.fasttts
        self._verifier = scheduler.fasttts.verifier
        runner = scheduler.tp_worker.model_runner
        judge = self._verifier.worker.model_runner
        first, second = backings
        self._generator_pool = ElasticPool(
            runner, scheduler.tree_cache, first, self._tell_generator, self._requests
        )
        # what the verifier has launched or prepared has used its prefixes already
        self._verifier_pool = ElasticPool(
            judge,
            self._verifier.tree,
            second,
            self._tell_verifier,
            lambda: (),
            self._verifier.lane,
        )
        pools = {GENERATOR: self._generator_pool, VERIFIER: self._verifier_pool}
        budget = sum(pool.mapped_bytes for pool in pools.values())
        for pool, model in ((self._generator_pool, runner), (self._verifier_pool, judge)):
            capacity.tell_runner(model, pool.capacity, pool.mapped_bytes)
        self._resizer = Resizer(pools, budget, settle=first.settle)
        self._rebalancer = Rebalancer(decide or equal_tokens(first.row_bytes, second.row_bytes))
        self._countdown = LOOK

    @property
    def share(self) -> float:
        """The generator's share of the budget."""
        return self._generator_pool.mapped_bytes / self._resizer.budget_bytes

    def between_batches(self) -> None:
        """Look at the workload from time to time, and move memory if it has changed."""
        if not self._searches.num_live:
            return
        self._countdown -= 1
        if self._countdown:
            return
        self._countdown = LOOK
        try:
            share = self._rebalancer.look(self._load(), self.share)
            if share is not None:
                self.resize(share)
        except Exception as exc:  # nothing may reach the batch loop
            self._rebalancer.failed()
            unexpected = None if isinstance(exc, FastTTSError) else exc
            logger.warning("FastTTS KV pools keep their sizes: %s", exc, exc_info=unexpected)

    def resize(self, generator_share: float) -> None:
        """Give the generator this share of the budget, or as near to it as running work allows.

        Raises:
            ValueError: It is not between 0 and 1.
            InsufficientMemory: What is in use does not fit, or memory could not be had; the pools
                have their former sizes.
        """
        if not 0 < generator_share < 1:
            raise ValueError(f"generator_share: must be between 0 and 1, got {generator_share}")
        self._generator_pool.synchronize()  # a forward may be in flight
        targets = self._resizer.split(GENERATOR, VERIFIER, generator_share, self._least())
        now = {name: pool.capacity for name, pool in self._resizer.pools.items()}
        if targets == now:
            return
        outcome = self._resizer.resize(targets)
        self._generator_pool.synchronize()
        if outcome.error is not None:
            state = outcome.failed_in.value if outcome.failed_in else ""
            raise InsufficientMemory(
                f"resizing KV pools from {now} to {targets} failed while {state}: {outcome.error}",
                missing=0,
            )
        logger.info("FastTTS KV pools: %s -> %s tokens", now, targets)

    def status(self) -> dict[str, Any]:
        """Sizes and counts, for people and metrics."""
        resizer = self._resizer
        return {
            "budget_bytes": resizer.budget_bytes,
            "mapped_bytes": self.mapped(),
            "peak_bytes": resizer.peak_bytes,
            "resizes": resizer.num_done,
            "rolled_back": resizer.num_rolled_back,
            "state": resizer.state.value,
        }

    def mapped(self) -> dict[str, int]:
        """Bytes of physical memory by pool."""
        return {name: pool.mapped_bytes for name, pool in self._resizer.pools.items()}

    # -- what is wanted ----------------------------------------------------------------

    def _least(self) -> tuple[int, int]:
        """Tokens that must be left to each pool for what runs or waits."""
        runner = self._searches
        live = list(runner.searches())
        least = needs.generator_tokens(live, self._requests())
        # what is in use, and room to go on: else SGLang would retract rows at once
        rows = self._scheduler.running_batch.batch_size()
        least = max(least, self._generator_pool.usage()["used"] + needs.ROOM_PER_ROW * rows)
        writes = isinstance(self._verifier, GenerativeVerifier) and self._verifier.busy
        busy = writes or runner.scores.busy
        judged = needs.verifier_tokens(live, self._verifier, busy)
        judged = max(judged, self._verifier_pool.usage()["used"])
        # what is admitted fits into what there is now
        return (
            min(least, self._generator_pool.capacity),
            min(judged, self._verifier_pool.capacity),
        )

    def _load(self) -> Load:
        live = list(self._searches.searches())
        rows = chain.from_iterable(search.rows for search in live)
        paths = [len(row.req.origin_input_ids) + len(row.req.output_ids) for row in rows if row.req]
        return Load(sum(search.params.n for search in live), max(paths, default=0))

    # -- SGLang's side -----------------------------------------------------------------

    def _requests(self) -> Iterable[Any]:
        """All requests that the generator has or will run, each once."""
        scheduler = self._scheduler
        batches = [scheduler.running_batch, scheduler.last_batch]
        if scheduler.enable_overlap:
            batches += [batch for batch, _ in scheduler.result_queue]
        lists = [batch.reqs for batch in batches if batch is not None]
        lists += [scheduler.waiting_queue, [scheduler.chunked_req] if scheduler.chunked_req else []]
        return {id(req): req for req in chain.from_iterable(lists)}.values()

    def _tell_generator(self, tokens: int) -> None:
        runner = self._scheduler.tp_worker.model_runner
        capacity.tell_runner(runner, tokens, self._generator_pool.bytes_at(tokens))
        capacity.tell_scheduler(self._scheduler, tokens)

    def _tell_verifier(self, tokens: int) -> None:
        runner = self._verifier.worker.model_runner
        capacity.tell_runner(runner, tokens, self._verifier_pool.bytes_at(tokens))


def shared_budget(scheduler: Any) -> SharedBudget | None:
    """What resizes this scheduler's pools, or None if it is not asked for or not possible."""
    worker = scheduler.fasttts_verifier
    first = getattr(scheduler, "fasttts_backing", None)
    second = None if worker is None else worker.backing
    if first is None or second is None:
        return None
    kinds = {
        scheduler.token_to_kv_pool_allocator: TokenToKVPoolAllocator,
        worker.model_runner.token_to_kv_pool_allocator: TokenToKVPoolAllocator,
        scheduler.tree_cache: RadixCache,
    }
    for part, kind in kinds.items():
        if type(part) is not kind:
            logger.warning("--fasttts-kv-resize has no effect with a %s", type(part).__name__)
            return None
    return SharedBudget(scheduler, (first, second))
