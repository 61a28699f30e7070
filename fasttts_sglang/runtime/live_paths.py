"""What searches may still go on from, as token sequences of either model."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..scheduling.retention import LivePath, worths
from .active_search import ActiveSearch
from .branch import Branch
from .prefixes import Cached, is_cached, look_up, look_up_again

if TYPE_CHECKING:
    from .kv_paths import KvEnd
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
        for search, branch, worth in self._live():
            yield LivePath(search.rid, branch.path, self._ids(search, branch), worth)

    def ends(self, tree: Any) -> Iterator[tuple[Any, float]]:
        """For each of them the node of the model's RadixCache `tree` in which it ends or leaves
        the cache, and what it is worth.
        """
        best: dict[Any, tuple[float, ActiveSearch, Branch, int]] = {}
        for search, branch, worth in self._live():
            kv = self._kv(search, branch)
            if kv is None:
                yield look_up(tree, self._ids(search, branch)).last, worth
            elif kv.node not in best or best[kv.node][0] < worth:  # many may go on from one node
                best[kv.node] = worth, search, branch, kv.length
        gone: dict[Any, Cached] = {}
        for node, (worth, search, branch, length) in best.items():
            if is_cached(node):
                yield node, worth
            else:
                ids = partial(self._ids, search, branch)
                yield look_up_again(tree, node, length, ids, gone).last, worth

    def _live(self) -> Iterator[tuple[ActiveSearch, Branch, float]]:
        searches = sorted(self.searches(), key=_oldest_turn)
        for number, search in enumerate(searches):
            search.tree.look()
            branches = search.branches.values()
            nodes = [(branch.step, self._is_done(branch)) for branch in branches]
            found = worths(search.tree, nodes, number / len(searches), 1 / len(searches))
            for branch, worth in zip(branches, found, strict=True):
                if worth is not None:
                    yield search, branch, worth

    def _is_done(self, branch: Branch) -> bool:
        return branch.step.complete

    def _ids(self, search: ActiveSearch, branch: Branch) -> "array[int]":
        ids, row = branch.tokens(search.prompt), branch.row
        if not branch.partial and row is not None and row.waits and not branch.step.complete:
            ids += row.own_ids()
        return ids

    def _kv(self, search: ActiveSearch, branch: Branch) -> "KvEnd | None":
        """Where the KV of these tokens was put; a node that is not decoded goes on from its
        parent's.
        """
        if branch.kv is not None or not branch.path:
            return branch.kv
        return search.parent(branch).kv


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

    def _is_done(self, branch: Branch) -> bool:
        if branch.step.node is not None:
            return True
        # it may be computed although the search has not got its score yet
        keys = branch.reading.keys
        return len(keys) == len(branch.ends) > 0 and keys[-1] in self._verifier.cache

    def _ids(self, search: ActiveSearch, branch: Branch) -> "array[int]":
        return branch.reading.ids

    def _kv(self, search: ActiveSearch, branch: Branch) -> "KvEnd | None":
        return branch.reading.kv


def _oldest_turn(search: ActiveSearch) -> int:
    """Searches take their turns by it, see `depth_first`."""
    return min((row.turn for row in search.rows if row.branch.step.requested), default=0)
