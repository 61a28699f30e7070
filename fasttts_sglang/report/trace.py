"""A search as a trace for Perfetto or chrome://tracing: a track per decode slot.

Format: Trace Event Format (JSON object form), times in microseconds.
"""

from typing import Any

from ..search.core import Path
from ..search.result import SearchResult, TreeNode
from ..telemetry.timeline import Span, lanes
from .derived import round_begins, tree

_PID = 1
_ROUNDS = 0  # track of the rounds; slots count from 1


def trace(result: SearchResult) -> dict[str, Any]:
    """The trace, to be written as JSON.

    A span is named by its node's path and has its score and fate as arguments; its category is
    the fate. Rounds are instants.

    Raises:
        ConfigError: The result has no timeline.
    """
    nodes = tree(result)
    slots = lanes(result.timeline)
    names = {_ROUNDS: "rounds", **{i: f"slot {i}" for i in range(1, len(slots) + 1)}}
    events = [_named("process_name", _ROUNDS, result.problem or result.id)]
    events += [_named("thread_name", track, name) for track, name in names.items()]
    events += [
        {"ph": "i", "s": "p", "pid": _PID, "tid": _ROUNDS, "ts": _us(begin), "name": f"round {i}"}
        for i, begin in round_begins(result).items()
    ]
    for track, spans in enumerate(slots, start=1):
        events += [_span(track, span, nodes.get(span.path)) for span in spans]
    other = {"answer": result.answer, "params": dict(result.params)}
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}


def _named(what: str, track: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": _PID, "tid": track, "name": what, "args": {"name": name}}


def _span(track: int, span: Span, node: TreeNode | None) -> dict[str, Any]:
    begin = _us(span.begin_s)
    fate = "not decoded" if node is None else node.fate.value  # ended before its first token
    return {
        "ph": "X",
        "pid": _PID,
        "tid": track,
        "ts": begin,
        "dur": _us(span.end_s) - begin,
        "name": dotted(span.path),
        "cat": fate,
        "args": {
            "fate": fate,
            "score": node and node.score,
            "round": node and node.round,
            "requested_s": span.requested_s,
            "text": node and node.text,
        },
    }


def dotted(path: Path) -> str:
    """A path as text.

    >>> dotted((0, 12, 3))
    '0.12.3'
    """
    return ".".join(map(str, path))


def _us(seconds: float) -> int:
    """Whole microseconds, so that spans which touch do not overlap by a rounding error."""
    return round(seconds * 1e6)
