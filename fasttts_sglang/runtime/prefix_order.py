"""Prefix-aware order: which rows are admitted, retracted and evicted first when memory is tight."""

from collections.abc import Sequence
from typing import Any

from sglang.srt.mem_cache.evict_policy import EvictionStrategy
from sglang.srt.mem_cache.radix_cache import RadixCache

from ..scheduling.order import depth_first, reseat
from .admission import Admission, place
from .live_paths import LivePaths, VerifierPaths
from .retention import OURS, Retention
from .row import row_of
from .verifier import Verifier
from .verifier_runner import VerifierRunner


class PrefixOrder:
    """The order of one scheduler's rows.

    Args:
        live: What is worth keeping.
    """

    def __init__(self, scheduler: Any, live: LivePaths) -> None:
        self._scheduler = scheduler
        self._tree = scheduler.tree_cache
        self._live = live
        self.admission = Admission(scheduler)
        self.priority: int | None = None  # of rows' requests: marks in the cache what is theirs

    def keep_what_is_needed(self, verifier: Verifier | None) -> None:
        """Evict with knowledge in both caches, as far as they allow it.

        Args:
            verifier: What scores the steps, if anything does.
        """
        scheduler = self._scheduler
        # A request's priority marks what is ours, so nobody else may give it a meaning.
        taken = (
            not self.admission.can_look
            or scheduler.enable_priority_scheduling
            or scheduler.abort_on_priority_when_disabled
            or self._tree.eviction_policy == "priority"
        )
        if not taken:
            self.priority = OURS
            self._install(self._tree, self._live)
        if type(verifier) is VerifierRunner:  # verdicts and functions read otherwise
            verifier.priority = OURS
            self._install(verifier.tree, VerifierPaths(self._live.searches, verifier))

    def _install(self, tree: RadixCache, live: LivePaths) -> None:
        stock: EvictionStrategy = tree.eviction_strategy
        tree.eviction_strategy = Retention(tree, stock, live.rounds, live.ends, self._score_early)

    def _score_early(self) -> None:
        for search in self._live.searches():
            search.scoring.early = True

    # -- orders ------------------------------------------------------------------------

    @staticmethod
    def sort(queue: list[Any]) -> None:
        """Sort the rows in a queue of requests among themselves."""
        mine = [index for index, req in enumerate(queue) if row_of(req)]
        if len(mine) > 1:
            reseat(queue, mine, depth_first([place(queue[index].fasttts) for index in mine]))

    @staticmethod
    def retraction(order: Sequence[int], reqs: Sequence[Any]) -> list[int]:
        """Order of the running `reqs`, the last of which is retracted first.

        Ordinary requests stand before all rows, in stock SGLang's order.
        """
        mine = [index for index in order if getattr(reqs[index], "fasttts", None)]
        others = [index for index in order if not getattr(reqs[index], "fasttts", None)]
        return others + [mine[i] for i in depth_first([place(reqs[i].fasttts) for i in mine])]
