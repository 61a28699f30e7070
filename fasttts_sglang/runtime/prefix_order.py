"""Prefix-aware order: which rows are admitted, retracted and evicted first when memory is tight."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sglang.srt.mem_cache.evict_policy import EvictionStrategy
from sglang.srt.mem_cache.radix_cache import RadixCache

from ..scheduling.order import depth_first, reseat
from ..scheduling.retention import worths
from ..scheduling.tree import Step
from ..search.core import Path
from ..verifier.score_cache import ScoreCache
from .active_search import ActiveSearch
from .admission import Admission, place
from .branch import Branch
from .retention import OURS, LivePath, Retention
from .verifier import Verifier
from .verifier_runner import VerifierRunner

_LOOKS = 16  # eviction looks again at what a search needs after n / _LOOKS more nodes


class PrefixOrder:
    """The order of one scheduler's rows.

    Args:
        searches: Those that run.
    """

    def __init__(self, scheduler: Any, searches: Callable[[], Sequence[ActiveSearch]]) -> None:
        self._scheduler = scheduler
        self._tree = scheduler.tree_cache
        self._searches = searches
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
            self._install(self._tree, self._state, self._generator_paths)
        if type(verifier) is VerifierRunner:  # verdicts and functions read otherwise
            verifier.priority = OURS
            self._install(
                verifier.tree,
                lambda: (*self._state(), verifier.num_forwards),
                partial(self._verifier_paths, verifier.cache),
            )

    def _install(
        self,
        tree: RadixCache,
        state: Callable[[], Any],
        paths: Callable[[], Iterator[LivePath]],
    ) -> None:
        stock: EvictionStrategy = tree.eviction_strategy
        tree.eviction_strategy = Retention(tree, stock, state, paths, self._score_early)

    def _score_early(self) -> None:
        for search in self._searches():
            search.scoring.early = True

    # -- orders ------------------------------------------------------------------------

    @staticmethod
    def sort(queue: list[Any]) -> None:
        """Sort the rows in a queue of requests among themselves."""
        mine = [index for index, req in enumerate(queue) if getattr(req, "fasttts", None)]
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

    # -- retention ---------------------------------------------------------------------

    def _state(self) -> tuple[Any, ...]:
        """Changes with every round, and as nodes are completed within it."""
        return tuple(
            (
                search.rid,
                search.counts.rounds,
                search.tree.num_complete * _LOOKS // search.params.n,
            )
            for search in self._searches()
        )

    def _generator_paths(self) -> Iterator[LivePath]:
        for search, path, worth in self._live(lambda branch: branch.step.complete):
            branch = search.branches[path]
            ids = search.prompt + branch.ids
            if branch.partial:
                ids += branch.partial
            elif branch.row is not None and branch.row.waits:
                ids += branch.row.own_ids()
            yield LivePath(search.rid, path, ids, worth)

    def _verifier_paths(self, scores: ScoreCache) -> Iterator[LivePath]:
        def done(branch: Branch) -> bool:
            if branch.step.node is not None:
                return True
            # it may be computed although the search has not got its score yet
            keys = branch.reading.keys
            return len(keys) == len(branch.ends) > 0 and keys[-1] in scores

        for search, path, worth in self._live(done):
            yield LivePath(search.rid, path, search.branches[path].reading.ids, worth)

    def _live(self, done: Callable[[Branch], bool]) -> Iterator[tuple[ActiveSearch, Path, float]]:
        searches = sorted(self._searches(), key=_oldest_turn)
        for number, search in enumerate(searches):
            search.tree.look()
            branches = search.branches
            steps = [branch.step for branch in branches.values()]

            def is_done(step: Step, branches: Any = branches) -> bool:
                branch = branches.get(step.path)
                return branch is not None and done(branch)

            found = worths(search.tree, steps, is_done, number / len(searches), 1 / len(searches))
            for step, worth in zip(steps, found, strict=True):
                if worth is not None:
                    yield search, step.path, worth


def _oldest_turn(search: ActiveSearch) -> int:
    """Searches take their turns by it, see `depth_first`."""
    return min((row.turn for row in search.rows if row.branch.step.requested), default=0)
