"""Batched CPU attention against torch, one row at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from fasttts_sglang.runtime.cpu import attention

SLOTS, HEADS, KV_HEADS, DIM = 512, 4, 2, 8
rows = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=9
)  # (cached, new) tokens of a row


class Backend:
    """Carries the plan, as SGLang's backend does."""

    fasttts_plan: list[attention.Group]


def batch(lengths: list[tuple[int, int]], seed: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    seq_lens = torch.tensor([cached + new for cached, new in lengths])
    tokens = torch.randint(1, SLOTS, (len(lengths), 100), generator=rng)
    k, v = torch.randn(2, SLOTS, KV_HEADS, DIM, generator=rng)
    new_lens = torch.tensor([new for _, new in lengths])
    query = torch.randn(int(new_lens.sum()), HEADS, DIM, generator=rng)
    return {"tokens": tokens, "seq": seq_lens, "new": new_lens, "q": query, "k": k, "v": v}


def ours(b: dict[str, torch.Tensor]) -> torch.Tensor:
    backend = Backend()
    backend.fasttts_plan = attention.plan(b["tokens"], b["seq"], b["new"])
    out = torch.full_like(b["q"], torch.nan)
    args = (backend, b["q"], out, b["k"], b["v"], None, None, b["seq"], None)
    return attention.attend(pytest.fail, *args, scaling=None, causal=False)


def one_by_one(b: dict[str, torch.Tensor]) -> torch.Tensor:
    results, start = [], 0
    for tokens, length, new in zip(b["tokens"], b["seq"].tolist(), b["new"].tolist(), strict=True):
        q = b["q"][start : start + new].transpose(0, 1)
        k, v = (b[name][tokens[:length]].transpose(0, 1) for name in "kv")
        mask = torch.arange(length) <= torch.arange(length - new, length)[:, None]
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        results.append(out.transpose(0, 1))
        start += new
    return torch.cat(results)


@given(rows, st.integers(0, 2**31))
def test_equals_attention_of_every_row_alone(lengths: list[tuple[int, int]], seed: int) -> None:
    b = batch(lengths, seed)
    torch.testing.assert_close(ours(b), one_by_one(b), atol=1e-5, rtol=1e-5)


def test_what_lies_in_unused_slots_does_not_matter() -> None:
    """A freed slot may hold anything, and a mask does not hide NaN: 0 * NaN is NaN."""
    b = batch([(3, 1), (60, 1)], 0)
    used = torch.cat([b["tokens"][0, :4], b["tokens"][1, :61], torch.tensor([0])])
    stale = torch.ones(SLOTS, dtype=torch.bool)
    stale[used] = False
    b["k"][stale], b["v"][stale] = torch.nan, torch.nan
    assert ours(b).isfinite().all()


def test_other_attention_is_left_to_sglang() -> None:
    b = batch([(3, 1)], 0)
    seen = []
    args = (Backend(), b["q"], b["q"], b["k"], b["v"], None, None, b["seq"], None)
    for option in ({"sliding_window_size": 4}, {"is_cross_attn": True}):
        attention.attend(lambda *a, **k: seen.append(k), *args, **option)
    assert [list(k)[1] for k in seen] == ["sliding_window_size", "is_cross_attn"]
