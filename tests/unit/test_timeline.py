"""Spans of a timeline: split into parts without gaps, laid into lanes without overlap."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.telemetry.timeline import Span, lanes, parts

TIMES = st.floats(0, 10)
SPANS = st.builds(
    lambda path, begin, length, requested: Span(path, begin, begin + length, requested),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    TIMES,
    TIMES,
    st.none() | st.floats(-5, 25),
)


@given(SPANS)
def test_parts_cover_the_span(span: Span) -> None:
    pieces = parts(span)
    total = sum(piece.end_s - piece.begin_s for piece in pieces)
    assert abs(total - (span.end_s - span.begin_s)) < 1e-9
    kinds = [piece.kind for piece in pieces]
    assert kinds in ([], ["wasted"], ["kept"], ["normal"], ["kept", "normal"])


@given(st.lists(SPANS, max_size=30))
def test_a_slot_does_one_thing_at_a_time(spans: list[Span]) -> None:
    found = lanes(spans)
    assert sorted((s for lane in found for s in lane), key=str) == sorted(spans, key=str)
    for lane in found:
        assert all(a.end_s <= b.begin_s for a, b in itertools.pairwise(lane))
