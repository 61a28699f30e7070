"""What searches may still go on from, as token sequences of either model."""

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from ..scheduling.retention import LivePath, worths
from ..scheduling.tree import Step
from ..search.core import Path
from .active_search import ActiveSearch

_LOOKS = 16  # `state` changes after n / _LOOKS more nodes


class LivePaths:
    """All live paths of all running searches, parents before their children.

    Args:
        searches: Those that run.
    """

    def __init__(self, searches: Callable[[], Sequence[ActiveSearch]]) -> None:
        self._searches = searches

    def rounds(self) -> tuple[Any, ...]:
        """Changes when a search begins, ends, or declares something dead."""
        return tuple((search.rid, search.counts.rounds) for search in self._searches())

    def state(self) -> tuple[Any, ...]:
        """Changes with every round, and as nodes are completed within it."""
        return tuple(
            (
                search.rid,
                search.counts.rounds,
                search.tree.num_complete * _LOOKS // search.params.n,
            )
            for search in self._searches()
        )

    def of_generator(self) -> Iterator[LivePath]:
        """As the generator decodes them."""
        for search, path, worth in self._live(attrgetter("complete")):
            branch = search.branches[path]
            ids = search.prompt + branch.ids
            if branch.partial:
                ids += branch.partial
            elif branch.row is not None and branch.row.waits and not branch.step.complete:
                ids += branch.row.own_ids()
            yield LivePath(search.rid, path, ids, worth)

    def of_verifier(self) -> Iterator[LivePath]:
        """As the verifier reads them."""
        for search, path, worth in self._live(lambda step: step.node is not None):
            yield LivePath(search.rid, path, search.branches[path].reading.ids, worth)

    def _live(self, done: Callable[[Step], bool]) -> Iterator[tuple[ActiveSearch, Path, float]]:
        searches = sorted(self._searches(), key=_oldest_turn)
        for number, search in enumerate(searches):
            steps = [branch.step for branch in search.branches.values()]
            found = worths(search.tree, steps, done, number / len(searches), 1 / len(searches))
            for step, worth in zip(steps, found, strict=True):
                if worth is not None:
                    yield search, step.path, worth


def _oldest_turn(search: ActiveSearch) -> int:
    """Searches take their turns by it, see `depth_first`."""
    return min((row.turn for row in search.rows if row.branch.step.requested), default=0)
