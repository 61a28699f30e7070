"""What searches may still go on from, as token sequences of either model."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..scheduling.retention import LivePath, worths
from ..scheduling.tree import Step
from ..search.core import Path
from .active_search import ActiveSearch
from .branch import Branch

if TYPE_CHECKING:
    from .verifier_runner import VerifierRunner

_LOOKS = 16  # `state` changes after n / _LOOKS more nodes


class LivePaths:
    """All live paths of all running searches, as the generator decodes them.

    Args:
        searches: Those that run.
    """

    def __init__(self, searches: Callable[[], Sequence[ActiveSearch]]) -> None:
        self.searches = searches

    def rounds(self) -> tuple[Any, ...]:
        """Changes when a search begins, ends, or declares something dead."""
        return tuple((search.rid, search.counts.rounds) for search in self.searches())

    def state(self) -> tuple[Any, ...]:
        """Changes with every round, and as nodes are completed within it."""
        return tuple(
            (
                search.rid,
                search.counts.rounds,
                search.tree.num_complete * _LOOKS // search.params.n,
            )
            for search in self.searches()
        )

    def paths(self) -> Iterator[LivePath]:
        """Parents before their children."""
        for search, path, worth in self._live(lambda branch: branch.step.complete):
            branch = search.branches[path]
            ids = search.prompt + branch.ids
            if branch.partial:
                ids += branch.partial
            elif branch.row is not None and branch.row.waits and not branch.step.complete:
                ids += branch.row.own_ids()
            yield LivePath(search.rid, path, ids, worth)

    def _live(self, done: Callable[[Branch], bool]) -> Iterator[tuple[ActiveSearch, Path, float]]:
        searches = sorted(self.searches(), key=_oldest_turn)
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


class VerifierPaths(LivePaths):
    """The same paths, as the verifier reads them.

    Args:
        verifier: Knows what it has computed.
    """

    def __init__(
        self, searches: Callable[[], Sequence[ActiveSearch]], verifier: "VerifierRunner"
    ) -> None:
        super().__init__(searches)
        self._verifier = verifier

    def state(self) -> tuple[Any, ...]:
        """Changes with every forward, too."""
        return (*super().state(), self._verifier.num_forwards)

    def paths(self) -> Iterator[LivePath]:
        """Parents before their children."""
        for search, path, worth in self._live(self._is_done):
            yield LivePath(search.rid, path, search.branches[path].reading.ids, worth)

    def _is_done(self, branch: Branch) -> bool:
        if branch.step.node is not None:
            return True
        # it may be computed although the search has not got its score yet
        keys = branch.reading.keys
        return len(keys) == len(branch.ends) > 0 and keys[-1] in self._verifier.cache


def _oldest_turn(search: ActiveSearch) -> int:
    """Searches take their turns by it, see `depth_first`."""
    return min((row.turn for row in search.rows if row.branch.step.requested), default=0)
