"""Which rows of a decode batch read their common prefix together, as tables for a kernel. Pure."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

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
_BLOCK = 32  # parts are multiples of it
_SHORTEST = 64  # part, but the last
_PROGRAMS = 512  # into which a kernel's work should fall: a few per multiprocessor
MOST_WORK = _PROGRAMS + MOST_GROUPS  # parts of all groups


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that share a prefix, and its parts, each of which is read by one program."""

    lines: Table  # [rows, WIDTH]
    work: List  # [parts], MOST_PARTS * group + part


def group(ends: Sequence[tuple[Hashable, int]], most: int, kv_heads: int) -> Groups | None:
    """Group the rows that share what is cached of them.

    Args:
        ends: Per row of the batch, where in the cache its prefix ends, and the prefix's tokens.
        most: Rows of a group.

    Returns:
        None: no two rows share anything worth it.

    >>> groups = group([("a", 100), ("b", 90), ("a", 101), ("c", 0)], most=4, kv_heads=2)
    >>> groups.lines[:, SHARED].tolist(), groups.lines[0, LENGTH:][:4].tolist()
    ([100, 0, 100, 0], [100, 0, 2, -1])
    >>> groups.work.tolist()
    [0, 1]
    """
    together: dict[Any, list[int]] = {}
    for row, (end, length) in enumerate(ends):
        if length >= WORTH_SHARING:
            together.setdefault(end, []).append(row)
    groups = [part for rows in together.values() for part in _parts(rows, min(most, MOST_MEMBERS))]
    del groups[MOST_GROUPS:]
    if not groups:
        return None
    lengths = np.array([min(ends[row][1] for row in rows) for rows in groups])
    least = -(-int(lengths.sum()) * kv_heads // _PROGRAMS)
    size = _round_up(max(_SHORTEST, least, -(-int(lengths.max()) // MOST_PARTS)))
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


def most_work(rows: int, kv_heads: int) -> int:
    """The most parts that the prefixes of so many rows are cut into."""
    return min(MOST_PARTS * (rows // 2), _PROGRAMS // kv_heads + min(rows // 2, MOST_GROUPS))


def _parts(rows: list[int], most: int) -> list[list[int]]:
    """Cut `rows` into parts of 2 to `most`, as even as can be; a row left over is in none.

    >>> _parts([1, 2, 3, 4, 5], 4), _parts([1], 4), _parts([1, 2, 3], 2)
    ([[1, 2, 3], [4, 5]], [], [[1, 2]])
    """
    if most < 2:
        return []
    number = -(-len(rows) // most)
    sizes = [len(rows) // number + (i < len(rows) % number) for i in range(number)]
    begins = [sum(sizes[:i]) for i in range(number)]
    pairs = zip(begins, sizes, strict=True)
    return [rows[begin : begin + size] for begin, size in pairs if size > 1]


def _round_up(tokens: int) -> int:
    return -(-tokens // _BLOCK) * _BLOCK
