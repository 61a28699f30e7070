"""Rows that read a prefix together: each once, no more than all of them share, and all of that."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.scheduling.prefix_groups import (
    LENGTH,
    MEMBERS,
    MOST_PARTS,
    MOST_WORK,
    PART,
    SHARED,
    WIDTH,
    WORTH_SHARING,
    End,
    group,
    most_work,
)

Node = tuple[int, ...]  # the lengths of all nodes down to it, each with a number of its own


@st.composite
def trees(draw: st.DrawFn) -> list[End]:
    """Rows at nodes of a random tree; as a node's path tells its tokens, two share its prefix."""
    nodes: list[Node] = [()]
    for _ in range(draw(st.integers(1, 30))):
        parent = draw(st.sampled_from(nodes))
        nodes.append((*parent, draw(st.integers(1, 400)) * 100 + len(nodes)))
    ends = []
    for node in draw(st.lists(st.sampled_from(nodes), max_size=80)):
        depth = sum(part // 100 for part in node)
        ends.append(End(node or None, depth, max(0, depth - draw(st.integers(0, 2)))))
    return ends


def above(node: Node, depth: int) -> tuple[Node, int]:
    return node[:-1], depth - node[-1] // 100


def in_common(one: Node, other: Node) -> int:
    same = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        same += a // 100
    return same


@given(trees(), st.integers(0, 20), st.integers(1, 8))
def test_rows_share_what_they_have_in_common(ends: list[End], most: int, kv_heads: int) -> None:
    groups = group(ends, above, most, kv_heads)
    worth = [end for end in ends if end.cached >= WORTH_SHARING]
    if groups is None:
        common = [in_common(a.node, b.node) for i, a in enumerate(worth) for b in worth[:i]]
        assert most < 2 or not [length for length in common if length >= WORTH_SHARING + 2]
        return
    lines = groups.lines
    assert lines.shape == (len(ends), WIDTH)
    size = int(lines[0, PART])
    assert (lines[:, PART] == size).all()
    assert size % 32 == 0
    shared = [0] * len(ends)
    parts = defaultdict(list)
    for entry in groups.work.tolist():
        parts[entry // MOST_PARTS].append(entry % MOST_PARTS)
    assert len(groups.work) <= most_work(len(ends), kv_heads) <= MOST_WORK
    for index in range(len(ends)):
        length = int(lines[index, LENGTH])
        if not length:
            assert index not in parts
            continue
        rows = [row for row in lines[index, MEMBERS:].tolist() if row >= 0]
        assert 2 <= len(rows) <= most
        assert length <= min(ends[row].cached for row in rows)
        first = ends[rows[0]].node
        assert all(length <= in_common(first, ends[row].node) for row in rows)
        assert parts[index] == list(range(-(-length // size)))
        for row in rows:
            assert shared[row] == 0, "a row is in two groups"
            shared[row] = length
    assert lines[:, SHARED].tolist() == shared


def test_who_is_alone_joins_relatives() -> None:
    """Two siblings, a child of a third, and one that only the prompt is common with."""
    third, prompt = (6000 + 1, 9000 + 2, 7000 + 5), (6000 + 1,)
    ends = [End((6001, 9002), 150, 150)] * 2 + [End(third, 220, 219), End(prompt, 60, 60)]
    groups = group(ends, above, 2, 1)
    assert groups is not None
    assert groups.lines[:, SHARED].tolist() == [60, 150, 150, 60]
