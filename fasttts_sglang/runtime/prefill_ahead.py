"""Nodes to be decoded ahead before which KV was evicted: prefilled where that pays.

What a search cannot hold in one round it often can in a later one, when fewer paths are left. Their
KV would come back only once the search asks for them, and until then nobody could decode ahead from
there. A prefill of many of them costs as much as some decode steps, and saves more.
"""

from collections.abc import Sequence
from typing import Any

from ..scheduling.slots import WORTH_PREFILL, how_many
from ..scheduling.step import Step
from .active_search import ActiveSearch
from .admission import Admission
from .row import row_of
from .rows import RowFactory

_FEW = 16  # a forward is not worth it for less than 1 / _FEW of a round's nodes
_SPARE = 0.1  # of the KV pool must be left when all rows have decoded what they probably will


class PrefillAhead:
    """Collects such nodes while slots are given away, and queues rows for those that fit."""

    def __init__(self, scheduler: Any, rows: RowFactory, admission: Admission) -> None:
        self._scheduler = scheduler
        self._rows = rows
        self._admission = admission
        self._steps: dict[ActiveSearch, list[Step]] = {}

    def forget(self, searches: Sequence[ActiveSearch]) -> None:
        """Slots of `searches` are given away anew."""
        for search in searches:
            self._steps.pop(search, None)

    def add(self, search: ActiveSearch, step: Step) -> None:
        """`step` has got a slot, but cannot be forked."""
        if step.worth >= WORTH_PREFILL and self._admission.can_look:
            self._steps.setdefault(search, []).append(step)
        else:
            search.unmade += 1

    def enqueue(self, running: Any) -> None:
        """Queue rows beside the `running` batch; the others stay unmade."""
        collected, self._steps = self._steps, {}
        for search, steps in collected.items():
            search.unmade += len(steps)
        few = {search: len(search.tree.members) / _FEW for search in collected}
        enough = {s: steps for s, steps in collected.items() if len(steps) >= few[s]}
        if not enough:
            return
        room, places = self._room(running)
        for search, steps in enough.items():
            rows = [search.row(search.branch(step)) for step in steps]
            needs = [self._rows.missing(search, row.branch.step) + row.tokens_left for row in rows]
            fitting = how_many(needs, room, places, few[search])
            room, places = room - sum(needs[:fitting]), places - fitting
            search.unmade -= fitting
            for row in rows[:fitting]:
                self._rows.enqueue(row)

    def _room(self, running: Any) -> tuple[float, int]:
        """KV slots and rows that are left for them."""
        scheduler = self._scheduler
        waiting = [row for req in scheduler.waiting_queue if (row := row_of(req)) is not None]
        room = self._rows.free_tokens - self._admission.reserved(running)
        room -= sum(row.num_own + row.tokens_left for row in waiting)
        places = self._rows.places(running) - len(scheduler.waiting_queue)
        return room - _SPARE * scheduler.max_total_num_tokens, max(0, places)
