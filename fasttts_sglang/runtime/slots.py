"""Gives decode slots to rows: what was asked for first, then what probably will be."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..scheduling.order import depth_first
from ..scheduling.slots import FLOOR_SHORT, choose
from ..scheduling.step import Step
from .active_search import ActiveSearch
from .admission import place
from .branch import Branch
from .prefill_ahead import PrefillAhead
from .prefix_order import PrefixOrder
from .row import Row, only_rows, row_of
from .rows import RESERVE, RowFactory

_AMPLE = 64  # and above which it may begin
_PLENTY = 256  # above which nobody asks how long steps will be
_SHORT = 128  # KV slots per beam, some two steps, under which memory is short
_IDLE = 8  # slots are filled when 1 / _IDLE of them are idle: starting rows has a fixed cost


class Slots:
    """Decides between two batches which rows run."""

    def __init__(self, scheduler: Any, rows: RowFactory, order: PrefixOrder | None) -> None:
        self._order = order
        self._scheduler = scheduler
        self._rows = rows
        self._evicted = None if order is None else PrefillAhead(scheduler, rows, order.admission)
        self._waited: set[str] = set()  # requests that the last look found in the queue
        self._entered: list[Row] = []  # rows that go on and have a surplus
        self._going_on: list[tuple[Row, Branch]] = []  # rows, and the nodes that they leave behind
        self._ending: list[Row] = []
        self._reqs: list[Any] = []  # of the running batch when it was last looked at
        self._mixed = False  # whether an ordinary request was among them

    def assign(self, searches: Sequence[ActiveSearch], running: Any) -> Any:
        """Let rows at a step boundary go on or end, start others, end useless ones.

        Returns:
            The running batch with new rows merged in.
        """
        crowded = self._crowded()
        others = self._others(running)
        for search in searches:
            if search.tree.give_way(others):
                search.changed = True
        changed = searches if crowded else [search for search in searches if search.changed]
        with self._rows.freeing_together():
            running = self._fork_waiting(searches, running)
            while changed:
                if new := self._choose(changed, running, crowded):
                    running = self._merge(running, new)
                changed = self._take_surplus()
        if self._evicted is not None:
            self._evicted.enqueue(running)
        return running

    def _fork_waiting(self, searches: Sequence[ActiveSearch], running: Any) -> Any:
        """Rows that queued for want of room and now have it join without a prefill.

        SGLang would prefill each of them, mostly for a single token: siblings have left the rest in
        the cache. What was evicted stays in the queue, and so do all while a client's request
        waits.
        """
        queue = self._scheduler.waiting_queue
        if self._order is None or running.batch_is_full or not only_rows(queue):
            return running
        waiting: list[Row] = [req.fasttts for req in queue if req.fasttts.waits_for_room]
        waiting = [row for row in waiting if row.search in searches]  # others leave soon
        if not waiting:
            return running
        reserved = self._order.admission.reserved(running)
        places = self._rows.places(running)
        room = self._rows.free_tokens - reserved
        chosen: list[Row] = []
        for index in depth_first([place(row) for row in waiting]):
            row = waiting[index]
            room -= row.tokens_left
            if room < 0 or len(chosen) == places:
                break
            if self._rows.reaches(row.search, row.branch.step):
                chosen.append(row)
        self._ending = []
        self._pause(chosen)
        self._rows.settle((), self._ending)
        batch, failed = self._rows.fork([r.search.row(r.branch) for r in chosen], reserved)
        for row in failed:
            self._rows.enqueue(row)
        return _joined(running, batch)

    def _take_surplus(self) -> list[ActiveSearch]:
        """Rows that went on take what was decoded already; returns searches to look at again."""
        entered, self._entered = self._entered, []
        for row in entered:
            self._rows.go_on(row)
        searches = dict.fromkeys(row.search for row in entered)
        return [search for search in searches if search.changed]

    def _choose(self, searches: Sequence[ActiveSearch], running: Any, crowded: bool) -> list[Row]:
        self._going_on, self._ending = [], []
        new: list[Row] = []
        for search in searches:
            new += self._start_requested(search)
        num_rows = running.batch_size() + len(new)
        tight = self._rows.free_tokens < RESERVE * (num_rows + 1)
        if self._evicted is not None:
            self._evicted.forget(searches)
        ahead: list[tuple[ActiveSearch, Step]] = []
        for search in searches:
            moving = [row for row in search.rows if row.is_ahead]
            room = 0
            if not (crowded or tight):
                room = self._room(search, running, len(new) + len(ahead), len(moving))
            moving = [row for row in moving if not row.at_boundary]
            steps = self._speculate(search, moving, room, now=crowded or tight)
            ahead += ((search, step) for step in steps)
            self._settle(search)
            search.changed = False
        self._rows.settle(self._going_on, self._ending)  # before others are forked off them
        return new + self._within_reach(ahead)

    def _within_reach(self, ahead: Sequence[tuple[ActiveSearch, Step]]) -> list[Row]:
        """Rows for what can be forked; the rest may be prefilled."""
        rows = []
        for search, step in ahead:
            if self._rows.reaches(search, step):
                rows.append(search.row(search.branch(step)))
            elif self._evicted is not None:
                self._evicted.add(search, step)
            else:
                search.unmade += 1
        return rows

    def drop(self, row: Row) -> None:
        """End `row`, whose node nobody needs."""
        if row.at_boundary:
            row.search.undecided.remove(row)
        else:
            row.search.leave(row)
        self._rows.end([row], keep=False)

    def _others(self, running: Any) -> bool:
        """Whether an ordinary request runs or waits. Nothing is decoded ahead beside them.

        Measured with 32 of them beside a search of 64 beams: rows ahead cost them 20 %.
        """
        if running.reqs is not self._reqs:
            self._reqs, self._mixed = running.reqs, not only_rows(running.reqs)
        return self._mixed or not only_rows(self._scheduler.waiting_queue)

    def _crowded(self) -> bool:
        """Whether a request has waited since the last look: it could not be admitted.

        What only waits to be decoded ahead does not count.
        """
        queue = self._scheduler.waiting_queue
        if not queue and not self._waited:
            return False
        waiting = {req.rid for req in queue if (row := row_of(req)) is None or not row.is_ahead}
        if self._order is not None:
            waiting -= self._order.admission.following  # no lack of room
        stuck = bool(waiting & self._waited)
        self._waited = waiting
        return stuck

    def _start_requested(self, search: ActiveSearch) -> list[Row]:
        if not search.prefilled:
            return []
        first = ((row, row.branch.step.children.get(0)) for row in search.undecided)
        self._go_on(row for row, s in first if s is not None and s.requested and not s.complete)
        return [search.row(branch) for branch in search.requested()]

    def _go_on(self, rows: Iterable[Row]) -> None:
        """Let rows at a boundary decode child 0, unless another row has begun that."""
        pairs = [(row, row.search.branch(row.branch.step.children[0])) for row in rows]
        pairs = [(row, child) for row, child in pairs if child.row is None and not child.partial]
        for row, child in pairs:
            row.search.undecided.remove(row)
            self._going_on.append((row, row.branch))
            row.enter(child)
            if row.surplus:
                self._entered.append(row)

    def _room(self, search: ActiveSearch, running: Any, num_new: int, ahead: int) -> int:
        """Slots for speculation: a search may use as many rows as it has beams.

        Args:
            num_new: Rows that will join the `running` batch.
            ahead: Rows that the search has for that.
        """
        asked = search.tree.num_decoding
        free = self._rows.places(running) - num_new
        if self._rows.free_tokens < _AMPLE * (running.batch_size() + num_new + 1):
            free = 0
        return min(search.params.n - asked, ahead + max(0, free))

    def _speculate(
        self, search: ActiveSearch, moving: Sequence[Row], room: int, *, now: bool
    ) -> list[Step]:
        """End rows so that the likeliest nodes are decoded ahead; returns what needs new ones.

        Args:
            moving: Rows that decode ahead now.
            room: How many may.
            now: Not only once several slots are idle.
        """
        if not search.prefilled:
            return []
        if room <= 0:
            self._pause(moving)
            return []
        idle = room - len(moving)
        few = idle - search.unmade < search.params.n / _IDLE
        if not now and not search.tree.stale and idle >= 0 and few:
            self._continue_likely(search, idle)
            return []
        search.unmade = 0
        steps = search.tree.ahead()
        wanted = set(steps) if moving else set()
        floor = self._floor(search)
        waiting = [step for step in steps if step.worth >= floor and search.idle(step)]
        worth = [row.branch.step.worth if row.branch.step in wanted else 0.0 for row in moving]
        end, start = choose(worth, [step.worth for step in waiting], room, floor)
        self._pause([moving[index] for index in end])
        chosen = [waiting[index] for index in start]
        paths = {step.path for step in chosen}
        self._go_on(row for row in search.undecided if (*row.branch.path, 0) in paths)
        return [step for step in chosen if search.idle(step)]

    def _floor(self, search: ActiveSearch) -> float:
        short = self._rows.free_tokens < _SHORT * search.params.n
        return max(search.tree.floor, FLOOR_SHORT) if short else search.tree.floor

    def _continue_likely(self, search: ActiveSearch, room: int) -> None:
        """Without looking around: rows at a boundary go on where child 0 is likely enough."""
        first = ((row, row.branch.step.children.get(0)) for row in search.undecided)
        floor = self._floor(search)
        likely = [row for row, s in first if s is not None and s.worth >= floor and not s.complete]
        self._go_on(likely[: max(0, room)])

    def _settle(self, search: ActiveSearch) -> None:
        """Rows at a boundary with nothing to go on with end."""
        for row in search.undecided:
            row.branch.row = None
            search.rows.pop(row, None)
        self._ending += search.undecided
        search.undecided.clear()

    def _pause(self, rows: Sequence[Row]) -> None:
        """End rows before their step is complete; others can go on from their tokens."""
        for row in rows:
            row.search.leave(row)
            row.branch.partial = row.own_ids() or None
            row.branch.row = None
            row.search.rows.pop(row, None)
        self._ending += rows

    def _merge(self, running: Any, new: Sequence[Row]) -> Any:
        """Fork `new` into `running`; what cannot be forked queues, if it was asked for."""
        asked = [row for row in new if row.branch.step.requested]
        if self._order is not None:
            asked = [asked[index] for index in depth_first([place(row) for row in asked])]
        free = self._rows.places(running)
        order = [*asked, *(row for row in new if not row.branch.step.requested)]
        tokens, beside = self._rows.free_tokens, None
        if self._order is None or tokens >= _PLENTY * (running.batch_size() + len(new)):
            fit = max(0, min(free, tokens // RESERVE - running.batch_size()))
        else:
            fit, beside = max(0, free), self._order.admission.reserved(running)
        batch, failed = self._rows.fork(order[:fit], beside)
        for row in [*failed, *order[fit:]]:
            if row.branch.step.requested:
                self._rows.enqueue(row)
            else:
                row.search.unmade += 1
        return _joined(running, batch)


def _joined(running: Any, batch: Any) -> Any:
    """The running batch with `batch` merged in."""
    if batch is None:
        return running
    if running.is_empty():
        return batch
    running.merge_batch(batch)
    return running
