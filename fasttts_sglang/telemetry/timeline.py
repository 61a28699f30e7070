"""When each node was decoded, and whether it had been asked for by then. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self


@dataclass(frozen=True, slots=True)
class Span:
    """A row at work on a node. Seconds into the search."""

    path: tuple[int, ...]
    begin_s: float
    end_s: float
    requested_s: float | None  # when the algorithm asked for the node; None: it never did

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from the JSON form."""
        return cls(**{**raw, "path": tuple(raw["path"])})


class Part(NamedTuple):
    """A piece of a span in one colour."""

    kind: str  # "normal", "kept" or "wasted"
    begin_s: float
    end_s: float


def parts(span: Span) -> list[Part]:
    """What was speculation in `span`, and what was not.

    >>> [part.kind for part in parts(Span((0,), 1.0, 3.0, 2.0))]
    ['kept', 'normal']
    """
    if span.requested_s is None:
        return [Part("wasted", span.begin_s, span.end_s)]
    border = min(max(span.requested_s, span.begin_s), span.end_s)
    pieces = [Part("kept", span.begin_s, border), Part("normal", border, span.end_s)]
    return [piece for piece in pieces if piece.end_s > piece.begin_s]


def lanes(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans in as few slots as possible: each goes to the first slot that is free.

    >>> spans = [Span((0,), 0, 2, 0), Span((1,), 1, 3, 0), Span((2,), 2, 4, 0)]
    >>> [len(lane) for lane in lanes(spans)]
    [2, 1]
    """
    found: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.begin_s, span.path)):
        free = (lane for lane in found if lane[-1].end_s <= span.begin_s)
        lane = next(free, None)
        if lane is None:
            found.append(lane := [])
        lane.append(span)
    return found
