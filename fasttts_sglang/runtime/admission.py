"""Which waiting rows are admitted now, when memory is tight: as many as will probably fit.

SGLang reserves for a request all that it may decode. A row may decode to the end of its path, but
will be at a step boundary long before, so reserving that would leave most of the memory unused.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

from sglang.srt.managers.schedule_policy import CLIP_MAX_NEW_TOKENS
from sglang.srt.mem_cache.radix_cache import RadixCache

from ..scheduling.order import Place, backwards, common, depth_first
from ..search.core import Path
from .active_search import ActiveSearch
from .prefixes import Cached, look_up
from .row import Row, row_of

_FEW = 16  # missing tokens that are rather computed twice than waited for


def place(row: Row) -> Place:
    """`row` as the order sees it."""
    step, search = row.branch.step, row.search
    turned = backwards(search.counts.rounds)
    return Place(search.rid, row.turn, step.path, turned, step.requested, step.p)


class Admission:
    """Looks at one scheduler's queue before SGLang does."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._tree = scheduler.tree_cache
        plain = isinstance(self._tree, RadixCache) and not self._tree.disable
        self.can_look = plain and scheduler.page_size == 1
        self.following: set[str] = set()  # requests that the last look let wait for another
        self._closed_at: int | None = None  # length of the queue when `close` closed the batch

    def withheld(self, running: Any) -> set[str]:
        """The requests that should not be admitted beside `running` now.

        Those for which there will probably be no room, and `following`: those that should wait
        until another has brought in their prefix. In one prefill batch siblings whose prefix is
        not cached would each compute it.
        """
        self.following = set()
        closed_at, self._closed_at = self._closed_at, None
        if running.batch_is_full and closed_at is not None:
            if closed_at == len(self._scheduler.waiting_queue):
                self._closed_at = closed_at
            else:  # somebody has come who may fit
                running.batch_is_full = False
        if running.batch_is_full:
            return self.following
        rows: list[Row] = [
            row
            for req in self._scheduler.waiting_queue
            if (row := row_of(req)) is not None and not row.only_prefill
        ]
        if not rows:
            return self.following
        self._tell_needs(rows, running)
        if not self.can_look:
            return self.following
        room = self._scheduler.token_to_kv_pool_allocator.available_size()
        room += self._tree.evictable_size() - self.reserved(running)
        withheld = {row.req.rid for row in rows}
        first = running.is_empty()  # one row always fits, else nobody would ever run
        for row, need, follows in self._needs(rows):
            room -= need
            if room < 0 and not first:
                break
            first = False
            if follows:
                self.following.add(row.req.rid)
            else:
                withheld.remove(row.req.rid)
        return withheld

    def close(self, running: Any) -> None:
        """Rows were withheld: no look is needed until a row has ended or the queue changes."""
        if not self.following and not running.is_empty():
            running.batch_is_full = True
            self._closed_at = len(self._scheduler.waiting_queue)

    def reserved(self, running: Any) -> int:
        """KV slots that `running` will probably still need."""
        ratio = self._scheduler.new_token_ratio_tracker.current
        needed = 0.0
        for req in running.reqs:
            row = row_of(req)
            if row is not None:
                needed += row.tokens_left
            else:
                left = req.sampling_params.max_new_tokens - len(req.output_ids)
                needed += ratio * min(left, CLIP_MAX_NEW_TOKENS)
        return math.ceil(needed)

    def _tell_needs(self, rows: Sequence[Row], running: Any) -> None:
        """Let SGLang, which reserves `max_new_tokens`, know what rows will probably need."""
        ratio = self._scheduler.new_token_ratio_tracker.current  # it reserves that part of it
        for row in rows:
            row.req.sampling_params.max_new_tokens = len(row.req.output_ids) + row.tokens_left
        for req in running.reqs:
            if (other := row_of(req)) is not None:
                left = math.ceil(other.tokens_left / ratio)
                req.sampling_params.max_new_tokens = len(req.output_ids) + left

    def _needs(self, rows: Sequence[Row]) -> Iterator[tuple[Row, int, bool]]:
        """Rows in their order, the KV slots that each needs, and whether it should follow."""
        found: dict[tuple[str, Path], Cached] = {}
        held: set[int] = set()  # nodes that those before will hold
        coming = {
            search: sorted(other.branch.path for other in search.rows if _is_prefilled_now(other))
            for search in {row.search for row in rows}
        }
        before: Row | None = None
        for index in depth_first([place(row) for row in rows]):
            row = rows[index]
            near = _neighbours(coming[row.search], row.branch.path)
            if before is not None and before.search is row.search:
                near.append(before.branch.path)
            before = row
            missing, shared = self._missing(row, near, found)
            cached = found.get((row.search.rid, row.branch.path[:-1]))
            need = missing - shared + row.num_own + row.tokens_left
            if cached is not None:
                need += _hold(cached, held)
            yield row, need, shared > _FEW

    def _missing(
        self, row: Row, near: Sequence[Path], found: dict[tuple[str, Path], Cached]
    ) -> tuple[int, int]:
        """Tokens before `row` that are not cached, and how many of them it shares with `near`."""
        search, path = row.search, row.branch.path
        if path not in search.branches:  # its search has ended, it leaves with the next step
            return 0, 0
        missing = self._not_cached(search, path[:-1], found)
        if not near or not missing:
            return missing, 0
        shared = max(common(path, other) for other in near)
        return missing, self._not_cached(search, path[: min(shared, len(path) - 1)], found)

    def _not_cached(
        self, search: ActiveSearch, path: Path, found: dict[tuple[str, Path], Cached]
    ) -> int:
        ids = search.prompt + search.branches[path].ids
        if (search.rid, path) not in found:
            begin = found.get((search.rid, path[:-1])) if path else None
            found[search.rid, path] = look_up(self._tree, ids, begin)
        return len(ids) - found[search.rid, path].total


def _hold(cached: Cached, held: set[int]) -> int:
    """Add what a row will hold to `held`; returns the tokens of it that could be evicted so far."""
    num_tokens = 0
    for node in cached:
        if node.lock_ref or node.id in held:
            break
        held.add(node.id)
        num_tokens += cached.num_rest if node is cached.rest else len(node.key)
    return num_tokens


def _neighbours(paths: Sequence[Path], path: Path) -> list[Path]:
    """Those of the sorted `paths` that share most with `path`."""
    at = bisect_left(paths, path)
    return list(paths[max(0, at - 1) : at + 1])


def _is_prefilled_now(row: Row) -> bool:
    """Whether the prefix of `row` is being computed and not in the cache yet."""
    req = row.req
    if req is None or req.req_pool_idx is None:
        return False
    return bool(req.cache_protected_len < len(row.search.prompt) + row.branch.parent_len - 1)
