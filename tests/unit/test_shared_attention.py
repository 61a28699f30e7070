"""What the decode kernel is told of a batch, and that nothing of the batch before is left."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.runtime import cpu

cpu.install_fallbacks()

from fasttts_sglang.runtime import shared_attention  # noqa: E402
from fasttts_sglang.runtime.kv_paths import KvEnd  # noqa: E402
from fasttts_sglang.runtime.shared_attention import SharedAttention, take_over  # noqa: E402
from fasttts_sglang.scheduling.prefix_groups import MOST_WORK, WIDTH, End, group  # noqa: E402

ROWS = 40


def backend(**changes: Any) -> SimpleNamespace:
    usual = {
        "num_head": 6,
        "num_kv_head": 1,
        "req_to_token_pool": SimpleNamespace(size=ROWS),
        "device": "cpu",
        "decode_attention_fwd": lambda *_: None,
        "dcp_size": 1,
        "page_size": 1,
        "topk": 0,
        "sliding_window_size": None,
        "use_mla": False,
        "enable_deterministic": False,
    }
    return SimpleNamespace(**{**usual, **changes})


@dataclass(eq=False)
class Node:
    parent: Any
    key: str


root = Node(None, "")
above = Node(root, 50 * "a")
nodes = [Node(above, length * "b") for length in (1, 40, 300)]


@st.composite
def requests(draw: st.DrawFn) -> SimpleNamespace:
    node = draw(st.sampled_from(nodes))
    depth = len(node.key) + len(above.key)
    return SimpleNamespace(
        fasttts=draw(st.sampled_from((None, "a row", "a row"))),
        last_node=node,
        fasttts_kv=draw(st.sampled_from((KvEnd(node, depth), KvEnd(root, 0)))),
        cache_protected_len=depth,
    )


@given(st.lists(st.lists(requests(), max_size=ROWS), max_size=6))
def test_the_table_is_of_the_last_batch_alone(batches: list[list[Any]]) -> None:
    attention = SharedAttention(backend())
    for batch in batches:
        attention.announce(batch)
        ends = [
            End(req.last_node, req.cache_protected_len, req.cache_protected_len)
            if req.fasttts
            else End(None, 0, 0)
            for req in batch
        ]
        wanted = torch.zeros(1 + MOST_WORK + ROWS * WIDTH, dtype=torch.int32)
        if (groups := group(ends, shared_attention.above, 5, 1)) is not None:
            wanted[0] = len(groups.work)
            wanted[1 : 1 + len(groups.work)] = torch.from_numpy(groups.work)
            lines = torch.from_numpy(groups.lines).view(-1)
            wanted[1 + MOST_WORK :][: len(lines)] = lines
        assert torch.equal(attention._table, wanted)


def test_only_usual_layers_are_taken_over() -> None:
    """Sums are rounded otherwise: not where every row must come out the same in any batch."""
    taken = backend()
    take_over(None, taken)
    assert isinstance(taken.fasttts_shared, SharedAttention)
    for other in (
        {"enable_deterministic": True},
        {"num_head": 1},
        {"num_head": 40},
        {"sliding_window_size": 4096},
        {"use_mla": True},
        {"topk": 4},
    ):
        left = backend(**other)
        before = left.decode_attention_fwd
        take_over(None, left)
        assert left.decode_attention_fwd is before, other
