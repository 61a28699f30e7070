"""Gives decode slots to rows: what was asked for first, then what probably will be."""

from collections.abc import Sequence
from typing import Any

from ..scheduling.slots import choose
from .active_search import ActiveSearch
from .row import Row
from .rows import RowFactory

_RESERVE = 16  # KV slots per running row under which speculation ends
_AMPLE = 64  # and above which it may begin


class Slots:
    """Decides between two batches which rows run."""

    def __init__(self, scheduler: Any, rows: RowFactory) -> None:
        self._scheduler = scheduler
        self._rows = rows
        self._waited: set[str] = set()  # requests that the last look found in the queue

    def assign(self, searches: Sequence[ActiveSearch], running: Any) -> Any:
        """Let rows at a step boundary go on or end, start others, end useless ones.

        Returns:
            The running batch with new rows merged in.
        """
        crowded = self._crowded()
        changed = [search for search in searches if search.changed]
        if not changed and not crowded:
            return running
        new: list[Row] = []
        requested = [self._start_requested(search) for search in searches]
        for rows in requested:
            new += rows
        num_rows = running.batch_size() + len(new)
        tight = self._rows.free_tokens < _RESERVE * (num_rows + 1)
        for search in searches:
            room = 0 if crowded or tight else self._room(search, running, new)
            new += self._speculate(search, room)
        for search in searches:
            self._settle(search)
            search.changed = False
        return self._merge(running, new)

    def _crowded(self) -> bool:
        """Whether a request has waited since the last look: it could not be admitted."""
        waiting = {req.rid for req in self._scheduler.waiting_queue}
        stuck = bool(waiting & self._waited)
        self._waited = waiting
        return stuck

    def _start_requested(self, search: ActiveSearch) -> list[Row]:
        if not search.prefilled:
            return []
        self._go_on(search, asked_for=True)
        return [search.row(branch) for branch in search.requested()]

    def _go_on(self, search: ActiveSearch, *, asked_for: bool, allowed: Any = None) -> None:
        """Rows at a boundary continue as child 0."""
        for row in list(search.undecided):
            step = row.branch.step.children.get(0)
            if step is None or step.complete or step.requested != asked_for:
                continue
            if allowed is not None and step.path not in allowed:
                continue
            branch = search.branch(step)
            if branch.row is None and not branch.partial:
                search.undecided.remove(row)
                self._rows.publish(row)
                row.enter(branch)

    def _room(self, search: ActiveSearch, running: Any, new: Sequence[Row]) -> int:
        """Slots for speculation: a search may use as many rows as it has beams."""
        asked = search.tree.num_decoding
        ahead = sum(not row.branch.step.requested for row in search.rows)
        limit = self._scheduler.max_running_requests - running.batch_size() - len(new)
        free = min(limit, self._rows.free_rows - len(new))
        if self._rows.free_tokens < _AMPLE * (running.batch_size() + len(new) + 1):
            free = 0
        return min(search.params.n - asked, ahead + max(0, free))

    def _speculate(self, search: ActiveSearch, room: int) -> list[Row]:
        """Choose among what runs ahead and what could; end and start rows accordingly."""
        steps = list(search.tree.ahead()) if search.prefilled else []
        wanted = {step.path for step in steps}
        running, waiting = [], []
        for row in search.rows:
            step = row.branch.step
            if not step.requested and not row.at_boundary and not row.only_prefill:
                running.append(row)
        for step in steps:
            if not step.complete and search.branch(step).row is None:
                waiting.append(step)
        worth = [row.branch.step.p if row.branch.path in wanted else 0.0 for row in running]
        end, start = choose(worth, [step.p for step in waiting], room)
        for index in end:
            self.pause(running[index])
        started = {waiting[index].path for index in start}
        self._go_on(search, asked_for=False, allowed=started)
        return [
            search.row(branch)
            for branch in (search.branch(waiting[index]) for index in start)
            if branch.row is None
        ]

    def _settle(self, search: ActiveSearch) -> None:
        """Rows at a boundary with nothing to go on with end."""
        for row in search.undecided:
            row.branch.row = None
            self._rows.end(row)
        search.undecided.clear()

    def pause(self, row: Row) -> None:
        """End `row` before its step is complete; another row can go on from its tokens."""
        branch = row.branch
        if not branch.step.complete:
            branch.partial = row.own_ids() or None
        branch.row = None
        self._rows.end(row)

    def drop(self, row: Row) -> None:
        """End `row`, whose node nobody needs."""
        if row.at_boundary:
            row.search.undecided.remove(row)
        self._rows.end(row)

    def _merge(self, running: Any, new: Sequence[Row]) -> Any:
        """Fork `new` into `running`; what cannot be forked queues, if it was asked for."""
        asked = [row for row in new if row.branch.step.requested]
        free = min(
            self._rows.free_rows,
            self._scheduler.max_running_requests - running.batch_size(),
        )
        room = self._rows.free_tokens // _RESERVE - running.batch_size()
        fit = max(0, min(free, room))
        order = [*asked, *(row for row in new if not row.branch.step.requested)]
        batch, failed = self._rows.fork(order[:fit])
        for row in [*failed, *order[fit:]]:
            if row.branch.step.requested:
                self._rows.enqueue(row)
            else:
                row.branch.row = None
        if batch is None:
            return running
        if running.is_empty():
            return batch
        running.merge_batch(batch)
        return running
