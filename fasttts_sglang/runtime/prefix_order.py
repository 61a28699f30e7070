"""Prefix-aware order: which rows are admitted, retracted and evicted first when memory is tight."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sglang.srt.managers.schedule_policy import CLIP_MAX_NEW_TOKENS
from sglang.srt.mem_cache.evict_policy import EvictionStrategy
from sglang.srt.mem_cache.radix_cache import RadixCache

from ..scheduling.order import Place, backwards, common, depth_first, reseat
from ..scheduling.retention import worths
from ..scheduling.tree import Step
from ..search.core import Path
from ..verifier.score_cache import ScoreCache
from .active_search import ActiveSearch
from .branch import Branch
from .prefixes import Cached, look_up
from .retention import OURS, LivePath, Retention
from .row import Row
from .verifier import Verifier
from .verifier_runner import VerifierRunner

_FEW = 16  # missing tokens that are rather computed twice than waited for
_LOOKS = 16  # eviction looks again at what a search needs after n / _LOOKS more nodes


def place(row: Row) -> Place:
    """`row` as the order sees it."""
    step, search = row.branch.step, row.search
    turned = backwards(search.counts.rounds)
    return Place(search.rid, row.turn, step.path, turned, step.requested, step.p)


class PrefixOrder:
    """The order of one scheduler's rows.

    Args:
        searches: Those that run.
    """

    def __init__(self, scheduler: Any, searches: Callable[[], Sequence[ActiveSearch]]) -> None:
        self._scheduler = scheduler
        self._tree = scheduler.tree_cache
        self._searches = searches
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

    def look(self, running: Any) -> set[str]:
        """Which requests should not be admitted now.

        Those whose node would probably not fit, and `following`: those that should wait until
        another has brought in their prefix. In one prefill batch siblings whose prefix is not
        cached would each compute it.
        """
        self.following = set()
        queue = self._scheduler.waiting_queue
        rows = [req.fasttts for req in queue if getattr(req, "fasttts", None) is not None]
        rows = [row for row in rows if not row.only_prefill]
        if running.batch_is_full or not rows:
            return self.following
        self._tell_needs(rows, running)
        if not self._can_look:
            return self.following
        room = self._scheduler.token_to_kv_pool_allocator.available_size()
        room += self._tree.evictable_size() - self.reserved(running)
        held: set[int] = set()
        withheld: set[str] = set()
        idle = running.is_empty()
        for row, need, follows in self._needs(rows, held):
            room -= need
            if room < 0 and not idle:
                withheld.add(row.req.rid)
            elif follows:
                self.following.add(row.req.rid)
            idle = False
        return withheld | self.following

    def reserved(self, running: Any) -> int:
        """KV slots that `running` will probably still need."""
        ratio = self._scheduler.new_token_ratio_tracker.current
        needed = 0.0
        for req in running.reqs:
            row = getattr(req, "fasttts", None)
            if row is not None:
                needed += row.tokens_left
            else:
                left = req.sampling_params.max_new_tokens - len(req.output_ids)
                needed += ratio * min(left, CLIP_MAX_NEW_TOKENS)
        return math.ceil(needed)

    def _tell_needs(self, rows: Sequence[Row], running: Any) -> None:
        """Let SGLang, which reserves `max_new_tokens`, know what rows will probably need."""
        ratio = self._scheduler.new_token_ratio_tracker.current
        for row in rows:
            row.req.sampling_params.max_new_tokens = len(row.req.output_ids) + row.tokens_left
        for req in running.reqs:
            row = getattr(req, "fasttts", None)
            if row is not None:
                most = len(req.output_ids) + math.ceil(row.tokens_left / ratio)
                req.sampling_params.max_new_tokens = most

    def _needs(self, rows: Sequence[Row], held: set[int]) -> Iterator[tuple[Row, int, bool]]:
        """Rows in their order, with the KV slots that each needs and whether it should follow."""
        by_search: dict[ActiveSearch, list[Row]] = {}
        found: dict[tuple[str, Path], Cached] = {}
        coming: dict[ActiveSearch, list[Path]] = {}
        for row in rows:
            if row.search not in coming:
                others = [r.branch.path for r in row.search.rows if _is_prefilled_now(r)]
                coming[row.search] = sorted(others)
        before: Row | None = None
        for index in depth_first([place(row) for row in rows]):
            row = rows[index]
            search, path = row.search, row.branch.path
            last = before.branch.path if before is not None and before.search is search else None
            others = coming[search]
            at = bisect_left(others, path)
            near = [*others[max(0, at - 1) : at + 1], *([] if last is None else [last])]
            shared = max((common(path, other) for other in near), default=0)
            follows = bool(near) and self._missing(search, path[: shared + 1], found) > _FEW
            need = row.tokens_left + row.num_own
            if search.branches.get(path) is not None:
                missing = self._missing(search, path, found)
                if follows:
                    missing -= self._missing(search, path[: shared + 1], found)
                need += missing
                for node in found[search.rid, path[:-1]]:
                    if node.lock_ref or node.id in held:
                        break
                    held.add(node.id)
                    need += len(node.key)
            before = row
            yield row, need, follows

    def _missing(
        self, search: ActiveSearch, path: Path, found: dict[tuple[str, Path], Cached]
    ) -> int:
        """Tokens of the parent of `path` that are not cached."""
        branch = search.branches.get(path)
        if branch is None:  # its search has ended, it leaves the queue with the next step
            return 0
        parent = path[:-1]
        known = found.get((search.rid, parent))
        if known is None:
            ids = search.prompt + branch.ids[: branch.parent_len]
            known = look_up(self._tree, ids, found.get((search.rid, parent[:-1])))
            found[search.rid, parent] = known
        return len(search.prompt) + branch.parent_len - known.total

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


def _is_prefilled_now(row: Row) -> bool:
    """Whether the prefix of `row` is being computed and not in the cache yet."""
    req = row.req
    if req is None or req.req_pool_idx is None:
        return False
    return bool(req.cache_protected_len < len(row.search.prompt) + row.branch.parent_len - 1)
