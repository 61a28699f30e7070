"""Prefix-aware order: which rows are admitted, retracted and evicted first when memory is tight."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sglang.srt.mem_cache.evict_policy import EvictionStrategy
from sglang.srt.mem_cache.radix_cache import RadixCache

from ..scheduling.order import Place, backwards, common, depth_first, reseat
from ..scheduling.retention import LivePath
from ..search.core import Path
from .active_search import ActiveSearch
from .live_paths import LivePaths
from .prefixes import Cached, look_up
from .retention import OURS, Retention
from .row import Row
from .verifier import Verifier
from .verifier_runner import VerifierRunner

_FEW = 16  # missing tokens that are rather computed twice than waited for


def place(row: Row) -> Place:
    """`row` as the order sees it."""
    step, search = row.branch.step, row.search
    turned = backwards(search.counts.rounds)
    return Place(search.rid, row.turn, step.path, turned, step.requested, step.p)


class PrefixOrder:
    """The order of one scheduler's rows.

    Args:
        live: What is worth keeping.
    """

    def __init__(self, scheduler: Any, live: LivePaths) -> None:
        self._scheduler = scheduler
        self._tree = scheduler.tree_cache
        self._live = live
        plain = isinstance(self._tree, RadixCache) and not self._tree.disable
        self._can_look = plain and scheduler.page_size == 1
        self.following: set[str] = set()  # requests that the last look let wait for another
        self.priority: int | None = None  # of rows' requests: marks in the cache what is theirs

    def keep_what_is_needed(self, verifier: Verifier | None) -> None:
        """Evict with knowledge in both caches, as far as they allow it.

        Args:
            verifier: What scores the steps, if anything does.
        """
        scheduler = self._scheduler
        # A request's priority marks what is ours, so nobody else may give it a meaning.
        taken = (
            not self._can_look
            or scheduler.enable_priority_scheduling
            or scheduler.abort_on_priority_when_disabled
            or self._tree.eviction_policy == "priority"
        )
        if not taken:
            self.priority = OURS
            self._install(self._tree, self._live.of_generator)
        if type(verifier) is VerifierRunner:  # verdicts and functions read otherwise
            verifier.priority = OURS
            self._install(verifier.tree, self._live.of_verifier)

    def _install(self, tree: RadixCache, paths: Callable[[], Iterable[LivePath]]) -> None:
        stock: EvictionStrategy = tree.eviction_strategy
        tree.eviction_strategy = Retention(tree, stock, self._live.state, paths)

    # -- admission and retraction ------------------------------------------------------

    @staticmethod
    def admission(queue: list[Any]) -> None:
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

    def look(self, *, room: bool) -> set[str]:
        """Find `following`: those that should wait until another has brought in their prefix.

        In one prefill batch siblings whose prefix is not cached would each compute it.

        Args:
            room: Whether any request can be admitted.
        """
        self.following = set()
        if not (room and self._can_look):
            return self.following
        waiting: dict[ActiveSearch, list[Row]] = {}
        for req in self._scheduler.waiting_queue:
            row = getattr(req, "fasttts", None)
            if row is not None and not row.only_prefill:
                waiting.setdefault(row.search, []).append(row)
        for rows in waiting.values():
            self.following |= {row.req.rid for row in self._following(rows)}
        return self.following

    def _following(self, rows: list[Row]) -> Iterator[Row]:
        """Those of one search's waiting rows that share missing tokens with one before them."""
        search = rows[0].search
        coming = sorted(row.branch.path for row in search.rows if _is_prefilled_now(row))
        found: dict[Path, Cached] = {}
        before: Path | None = None
        for index in depth_first([place(row) for row in rows]):
            row = rows[index]
            path = row.branch.path
            at = bisect_left(coming, path)
            near = [*coming[max(0, at - 1) : at + 1], *([] if before is None else [before])]
            shared = max((common(path, other) for other in near), default=0)
            before = path
            if near and self._missing(search, path[: shared + 1], found) > _FEW:
                yield row

    def _missing(self, search: ActiveSearch, path: Path, found: dict[Path, Cached]) -> int:
        """Tokens of the parent of `path` that are not cached."""
        branch = search.branches.get(path)
        if branch is None:  # its search has ended, it leaves the queue with the next step
            return 0
        parent = path[:-1]
        if parent not in found:
            ids = search.prompt + branch.ids[: branch.parent_len]
            found[parent] = look_up(self._tree, ids, found.get(parent[:-1]))
        return len(search.prompt) + branch.parent_len - found[parent].total


def _is_prefilled_now(row: Row) -> bool:
    """Whether the prefix of `row` is being computed and not in the cache yet."""
    req = row.req
    if req is None or req.req_pool_idx is None:
        return False
    return bool(req.cache_protected_len < len(row.search.prompt) + row.branch.parent_len - 1)
