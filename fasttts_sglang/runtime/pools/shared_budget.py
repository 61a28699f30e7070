"""Two pools under one budget, inside the scheduler: who asks for another split, and how."""

import logging
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from typing import Any

from sglang.srt.mem_cache.allocator import TokenToKVPoolAllocator
from sglang.srt.mem_cache.radix_cache import RadixCache

from ...errors import FastTTSError, InsufficientMemory
from ...memory.rebalance import Decide, Load, Rebalancer, equal_tokens, planned
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
    """

    def __init__(self, scheduler: Any, backings: tuple[Backing, Backing]) -> None:
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
        self._resizer = Resizer(pools, budget, settle=first.settle)
        self.rule, decide = self._choose_rule(budget)
        self._rebalancer = Rebalancer(decide)
        self._countdown = LOOK
        self._held = False  # somebody has set the split by hand

    @property
    def share(self) -> float:
        """The generator's share of the budget."""
        return self._generator_pool.mapped_bytes / self._resizer.budget_bytes

    def between_batches(self) -> None:
        """Look at the workload from time to time, and move memory if it has changed."""
        if self._held or not self._searches.num_live:
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

    def set_by_hand(self, generator_share: float, hold: bool = False) -> None:
        """`resize`, for `collective_rpc`.

        Args:
            hold: The split is left alone from now on, until a call without it.
        """
        self._held = hold
        self.resize(generator_share)

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
            "rule": self.rule,
            "decided_for": asdict(decided) if (decided := self._rebalancer.decided) else None,
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

    def _choose_rule(self, budget: int) -> tuple[str, Decide]:
        """The planner's, where the server was planned and its predictions are about this pair."""
        split, pools = self._verifier.worker.split, (self._generator_pool, self._verifier_pool)
        if split.plan is None or isinstance(self._verifier, GenerativeVerifier):
            return "equal tokens", equal_tokens(*(pool.backing.row_bytes for pool in pools))
        generator, verifier = split.shapes
        plan = split.plan
        return "plan", planned(generator, verifier, plan.machine, plan.workload, budget)

    def _load(self) -> Load:
        live = list(self._searches.searches())
        rows = chain.from_iterable(search.rows for search in live)
        paths = [len(row.req.origin_input_ids) + len(row.req.output_ids) for row in rows if row.req]
        # of whole rounds: amid one, short steps have ended and long ones not
        steps = sum(s.counts.children - len(s.tree.members) for s in live)
        tokens = sum(s.counts.completion_tokens for s in live)
        width = sum(search.params.n for search in live)
        kept = sum(search.params.n / search.params.branch for search in live)
        return Load(
            width,
            max(paths, default=0),
            prompt_tokens=max((len(search.prompt) for search in live), default=0),
            branch=round(width / kept) if live else 1,
            step_tokens=tokens / steps if steps > 0 else None,
        )

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
