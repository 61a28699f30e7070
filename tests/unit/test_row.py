"""A row gets its tokens one by one, or some at a time behind each other's back: it is the same."""

from array import array
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.runtime.row import Row


class Request:
    """What a row needs of SGLang's request; a node is complete at the row's limit."""

    finished_reason: Any = None
    to_finish: Any = None

    def __init__(self, lengths: Iterator[int], end: int) -> None:
        self.output_ids = array("q")
        self.row = Row(search=None, branch=None, req=self, plain=range(100))  # type: ignore[arg-type]
        self.lengths = lengths
        self.end = end  # of the answer
        self.boundaries: list[int] = []
        self.set_out()

    def set_out(self) -> None:
        self.row.at_boundary = False
        self.row.stop_len = min(self.end, len(self.output_ids) + next(self.lengths))

    def update_finish_state(self, new_accepted_len: int) -> None:
        assert len(self.output_ids) == self.row.stop_len and new_accepted_len == 1
        self.boundaries.append(len(self.output_ids))
        self.row.at_boundary = True
        if len(self.output_ids) == self.end:
            self.finished_reason = "eos"

    def look(self) -> None:
        """Between two batches: the row goes on, with what it has already."""
        while self.row.at_boundary and self.finished_reason is None:
            self.set_out()
            self.row.take_surplus()


def decode(lengths: list[int], end: int, tokens: list[int], chunks: list[int]) -> Request:
    req = Request(iter([*lengths, *[1000] * 2]), end)
    at, sizes = 0, iter(chunks)
    while at < len(tokens) and req.finished_reason is None:
        size = next(sizes, 1)
        ended = req.row.take(tokens[at : at + size])
        assert ended == (req.finished_reason is not None)
        req.look()
        at += size
    return req


@given(
    lengths=st.lists(st.integers(1, 6), max_size=20),
    end=st.integers(1, 40),
    tokens=st.lists(st.integers(0, 99), min_size=1, max_size=60),
    chunks=st.lists(st.integers(1, 9), max_size=60),
)
def test_bursts_decode_what_single_steps_decode(
    lengths: list[int], end: int, tokens: list[int], chunks: list[int]
) -> None:
    single, burst = decode(lengths, end, tokens, []), decode(lengths, end, tokens, chunks)
    assert burst.boundaries == single.boundaries
    assert burst.output_ids == single.output_ids == array("q", tokens[: len(single.output_ids)])
    assert burst.finished_reason == single.finished_reason


def test_a_row_at_a_boundary_can_be_told_to_end() -> None:
    """Its search was gone; it piled up tokens until its KV index row was full."""
    req = Request(iter([2]), end=100)
    req.row.take([1, 2, 3])
    assert req.row.at_boundary and list(req.row.surplus) == [3]
    req.to_finish = "abort"
    req.update_finish_state = lambda _: setattr(req, "finished_reason", "abort")  # type: ignore[method-assign]
    assert req.row.take([4])
