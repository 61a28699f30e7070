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
    group,
    most_work,
)

ends = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3000)), max_size=400)


@given(ends, st.integers(0, 20), st.integers(1, 8))
def test_rows_share_what_they_have_in_common(
    ends: list[tuple[int, int]], most: int, kv_heads: int
) -> None:
    groups = group(ends, most, kv_heads)
    if groups is None:
        long = [end for end, length in ends if length >= WORTH_SHARING]
        assert most < 2 or len(set(long)) == len(long)
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
        assert len({ends[row][0] for row in rows}) == 1
        assert length == min(ends[row][1] for row in rows)
        assert parts[index] == list(range(-(-length // size)))
        for row in rows:
            assert shared[row] == 0, "a row is in two groups"
            shared[row] = length
    assert lines[:, SHARED].tolist() == shared
