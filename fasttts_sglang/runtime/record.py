"""What a search remembers for a client that asks for its timeline: every node and its times."""

from array import array
from bisect import bisect_right
from collections.abc import Container, Iterable
from dataclasses import asdict
from typing import Any

from ..search.core import Path
from ..search.result import Fate
from ..telemetry.timeline import Span
from .branch import Branch


class Record:
    """Grows as the search goes on; branches are told before they are forgotten."""

    def __init__(self) -> None:
        self._spans: list[tuple[Branch, float, float]] = []
        self._rounds: dict[Path, int] = {}
        self._nodes: dict[Path, dict[str, Any]] = {}

    def span(self, branch: Branch, begin_s: float, end_s: float) -> None:
        """A row was at work on `branch`."""
        self._spans.append((branch, begin_s, end_s))

    def round(self, number: int, paths: Iterable[Path]) -> None:
        """Round `number` asks for the nodes at `paths`."""
        self._rounds |= dict.fromkeys(paths, number)

    def node(self, branch: Branch, kept: Container[Path]) -> None:
        """`branch` will not change any more; `kept` are all survivors.

        Of a node that was dropped and decoded again the last time counts.
        """
        own = _own_ids(branch)
        if not own or not branch.path:
            return
        done = bisect_right(branch.ends, branch.parent_len)  # steps of its parent
        ends = [end - branch.parent_len for end in branch.ends[done:]]
        if not ends or ends[-1] < len(own):
            ends.append(len(own))
        asked = self._rounds.get(branch.path)
        fate = Fate.KEPT if branch.path in kept else Fate.PRUNED
        self._nodes[branch.path] = {
            "path": list(branch.path),
            "ids": own.tolist(),
            "ends": ends,
            "scores": branch.scores[done:],
            "fate": (Fate.WASTED if asked is None else fate).value,
            "finish": branch.step.finish and branch.step.finish.value,
            "round": asked,
        }

    def timeline(self) -> list[dict[str, Any]]:
        """All spans, in the order of their ends."""
        return [
            asdict(Span(branch.path, begin, end, branch.requested_s))
            for branch, begin, end in self._spans
        ]

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes in path order, as token ids."""
        return [self._nodes[path] for path in sorted(self._nodes)]


def _own_ids(branch: Branch) -> array:  # type: ignore[type-arg]
    """Tokens decoded for this node, also if it is not complete."""
    if branch.step.complete:
        ids: array = branch.ids[branch.parent_len :]  # type: ignore[type-arg]
        return ids
    if branch.row is not None and branch.row.num_own:
        return branch.row.own_ids()
    return branch.partial or array("q")
