"""The verifier's kernel against attention in torch operators, by Triton's interpreter on a CPU."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fasttts_sglang.runtime import verifier_attention
from fasttts_sglang.runtime.verifier_attention import VerifierAttention

from .interpreted import interpreted

PROGRAM = """
import random
import torch
from fasttts_sglang.runtime.verifier_attention import extend_attention

for trial, (heads, kv_heads, tile) in enumerate(((6, 1, 16), (4, 2, 64), (7, 1, 32), (2, 2, 16))):
    draw = random.Random(trial)
    torch.manual_seed(trial)
    dim, slots = 16, 2000
    keys, values = torch.randn(2, slots, kv_heads, dim)
    free = torch.randperm(slots).tolist()
    paths = [[free.pop() for _ in range(draw.choice((0, 1, 64, 150)))] for _ in range(6)]
    news = [draw.choice((1, 3, 17, 70)) for _ in paths]
    paths, news = paths + [[], []], news + [0, 0]  # a graph has rows to spare
    indptr = lambda sizes: torch.tensor([0, *sizes]).cumsum(0).to(torch.int32)
    tokens = sum(news)
    queries = torch.randn(tokens + 5, heads, dim)  # and tokens
    new = torch.randn(2, tokens + 5, kv_heads, dim)
    result = torch.full_like(queries, float("nan"))
    starts, indices = indptr(news), torch.tensor([slot for path in paths for slot in path])
    extend_attention(
        queries, *new, result, keys, values, starts, indptr([len(path) for path in paths]),
        indices, dim**-0.5, tile,
    )
    assert result[tokens:].isnan().all()
    for row, path in enumerate(paths):
        mine = slice(int(starts[row]), int(starts[row + 1]))
        key, value = (
            torch.cat([pool[path], some[mine]]).repeat_interleave(heads // kv_heads, 1)
            for pool, some in ((keys, new[0]), (values, new[1]))
        )
        logits = torch.einsum("qhd,thd->hqt", queries[mine], key) * dim**-0.5
        later = torch.ones_like(logits[0], dtype=torch.bool).triu(len(path) + 1)
        weights = logits.masked_fill(later, float("-inf")).softmax(-1)
        wanted = torch.einsum("hqt,thd->qhd", weights, value)
        torch.testing.assert_close(result[mine], wanted, rtol=1e-4, atol=1e-5)
    print("equal")
"""


def test_new_tokens_attend_to_their_prefix_and_to_those_before_them() -> None:
    done = interpreted(PROGRAM)
    assert done.stdout.split("\n")[:4] == ["equal"] * 4, done.stderr


@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ({}, True),
        ({"is_causal": False}, False),
        ({"logit_cap": 30.0}, False),
        ({"sinks": torch.zeros(1)}, False),
        ({"k_scale": 0.5}, False),
        ({"sliding_window_size": 128}, False),
        ({"custom_mask": torch.zeros(1)}, False),
        ({"q_extend": torch.zeros(1, 4, 24), "v_extend": torch.zeros(1, 2, 24)}, False),
    ],
)
def test_layers_of_another_kind_keep_sglangs_kernel(
    change: dict[str, Any], ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sglang.kernels.ops.attention.extend_attention import extend_attention_fwd

    calls = []
    signature = inspect.signature(extend_attention_fwd)

    def stock(*args: Any, **options: Any) -> None:
        calls.append(signature.bind(*args, **options).arguments)

    monkeypatch.setattr(verifier_attention, "extend_attention", lambda *_: calls.append(None))
    backend = SimpleNamespace(extend_attention_fwd=stock)
    attention = VerifierAttention(backend)
    given = dict.fromkeys(list(signature.parameters)[:16]) | {
        "is_causal": True,
        "k_scale": 1.0,
        "v_scale": 1.0,
        "q_extend": torch.zeros(1, 4, 32),
        "v_extend": torch.zeros(1, 2, 32),
        "sm_scale": 0.25,
    }
    given.update(change)
    positional = [given.pop(name) for name in list(signature.parameters)[:16]]
    backend.extend_attention_fwd(*positional, **given)
    assert attention.usual == ours
    assert len(calls) == 1
    if not ours:
        for name, value in change.items():
            assert calls[0][name] is value
