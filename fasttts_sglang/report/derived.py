"""What both pictures read off a result: nodes by path, rounds in time, what was decoded ahead."""

from collections.abc import Mapping

from ..errors import ConfigError
from ..search.core import Path
from ..search.result import SearchResult, TreeNode


def tree(result: SearchResult) -> Mapping[Path, TreeNode]:
    """The nodes by path, in path order.

    Raises:
        ConfigError: The search did not record them.
    """
    if not result.nodes or not result.timeline:
        raise ConfigError("the result has no tree and timeline: search again with --timeline")
    return {node.path: node for node in sorted(result.nodes, key=lambda node: node.path)}


def round_begins(result: SearchResult) -> dict[int, float]:
    """Seconds into the search at which each round asked for its first node."""
    rounds = {node.path: node.round for node in result.nodes}
    begins: dict[int, float] = {}
    for span in result.timeline:
        number = rounds.get(span.path)
        if number is not None and span.requested_s is not None:
            begins[number] = min(span.requested_s, begins.get(number, span.requested_s))
    return dict(sorted(begins.items()))


def decoded_ahead(result: SearchResult) -> set[Path]:
    """Nodes that a row worked on before they were asked for, whether or not they ever were."""
    return {
        span.path
        for span in result.timeline
        if span.requested_s is None or span.begin_s < span.requested_s
    }
