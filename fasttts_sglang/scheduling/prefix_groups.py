"""Which rows of a decode batch read their common prefix together, as tables for a kernel. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import numpy as np

Table = np.ndarray[tuple[int, int], np.dtype[np.int32]]
List = np.ndarray[tuple[int], np.dtype[np.int32]]

SHARED, PART, LENGTH, MEMBERS = range(4)
"""Columns of `Groups.lines`. In line i: tokens that row i leaves to its group; tokens per part into
which a shared prefix is cut; tokens of group i's prefix; from here on its rows, -1 for none.
"""
WIDTH = 20
MOST_MEMBERS = WIDTH - MEMBERS
MOST_PARTS = 8  # of one prefix
MOST_GROUPS = 512
WORTH_SHARING = 32  # tokens under which rows read for themselves
_BLOCK = 64  # parts are multiples of it
_PROGRAMS = 512  # into which a kernel's work should fall: a few per multiprocessor
MOST_WORK = _PROGRAMS + MOST_GROUPS  # parts of all groups


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that share a prefix, and its parts, each of which is read by one program."""

    lines: Table  # [rows, WIDTH]
    work: List  # [parts], MOST_PARTS * group + part

    def put(self, work: List, lines: Table) -> None:
        """Write them into a kernel's tables, which are zero.

        Args:
            work: [1 + MOST_WORK], how many parts there are, and these.
            lines: [rows or more, WIDTH].
        """
        work[0], work[1 : 1 + len(self.work)] = len(self.work), self.work
        lines[: len(self.lines)] = self.lines


class End(NamedTuple):
    """Where the part of a row ends that it has from the cache."""

    node: Any  # of the prefix tree; None: nothing is shared
    depth: int  # tokens down to it
    cached: int  # of which the row has so many from there


Above = Callable[[Any, int], tuple[Any, int]]
"""The node above one, and its depth."""


def group(ends: Sequence[End], above: Above, most: int, kv_heads: int) -> Groups | None:
    """Group the rows that share what is cached of them.

    Args:
        ends: Of all rows of the batch.
        most: Rows of a group.

    Returns:
        None: no two rows share anything worth it.

    >>> tree = {"a": ("root", 60), "b": ("root", 60)}
    >>> ends = [End("a", 100, 99), End("b", 90, 90), End("a", 100, 100), End("root", 60, 60)]
    >>> groups = group(ends, lambda node, _: tree.get(node, (None, 0)), most=4, kv_heads=2)
    >>> groups.lines[:, SHARED].tolist(), groups.lines[:2, LENGTH:][:, :4].tolist()
    ([99, 60, 99, 60], [[99, 0, 2, -1], [60, 3, 1, -1]])
    >>> groups.work.tolist()
    [0, 1, 8]
    """
    most = min(most, MOST_MEMBERS)
    found = _gather(ends, above, most)[:MOST_GROUPS] if most > 1 else []
    if not found:
        return None
    groups = [rows for rows, _ in found]
    lengths = np.array([min(depth, *(ends[row].cached for row in rows)) for rows, depth in found])
    least = -(-int(lengths.sum()) * kv_heads // _PROGRAMS)
    size = _round_up(max(_BLOCK, least, -(-int(lengths.max()) // MOST_PARTS)))
    sizes = [len(rows) for rows in groups]
    members = np.array([row for rows in groups for row in rows])
    of_group = np.repeat(np.arange(len(groups)), sizes)
    place = np.arange(len(members)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    lines = np.zeros((len(ends), WIDTH), np.int32)
    lines[members, SHARED] = lengths[of_group]
    lines[:, PART] = size
    lines[: len(groups), LENGTH] = lengths
    lines[: len(groups), MEMBERS:] = -1
    lines[of_group, MEMBERS + place] = members
    parts = MOST_PARTS * np.arange(len(groups))[:, None] + np.arange(MOST_PARTS)
    inside = np.arange(MOST_PARTS) * size < lengths[:, None]
    return Groups(lines, parts[inside].astype(np.int32))


def _gather(ends: Sequence[End], above: Above, most: int) -> list[tuple[list[int], int]]:
    """Groups of rows, and the depth of the node that they share.

    From the deepest node up: a row that is alone at one waits for company at the node above.
    """
    waiting: dict[Any, list[int]] = {}
    heap: list[tuple[int, int, Any]] = []  # deepest first; the number keeps nodes from comparing
    for row, (node, depth, cached) in enumerate(ends):
        if depth < WORTH_SHARING or cached < WORTH_SHARING:
            continue
        if node in waiting:
            waiting[node].append(row)
        else:
            waiting[node] = [row]
            heap.append((-depth, row, node))
    heapify(heap)
    found = []
    while heap:
        minus_depth, _, node = heappop(heap)
        for part in _parts(waiting.pop(node), most):
            if len(part) > 1:
                found.append((part, -minus_depth))
                continue
            up, depth = above(node, -minus_depth)
            if depth < WORTH_SHARING:
                continue
            if up in waiting:
                waiting[up] += part
            else:
                waiting[up] = part
                heappush(heap, (-depth, part[0], up))
    return found


def most_work(rows: int, kv_heads: int) -> int:
    """The most parts that the prefixes of so many rows are cut into."""
    return min(MOST_PARTS * (rows // 2), _PROGRAMS // kv_heads + min(rows // 2, MOST_GROUPS))


def _parts(rows: list[int], most: int) -> list[list[int]]:
    """Cut `rows` into as few parts as can be of up to `most`, as even as can be.

    >>> _parts([1, 2, 3, 4, 5], 4), _parts([1], 4)
    ([[1, 2], [3, 4, 5]], [[1]])
    """
    number = -(-len(rows) // most)
    return [
        rows[part * len(rows) // number : (part + 1) * len(rows) // number]
        for part in range(number)
    ]


def _round_up(tokens: int) -> int:
    return -(-tokens // _BLOCK) * _BLOCK
