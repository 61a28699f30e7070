"""Seeded sampling in plain torch: same hash as SGLang's kernel, same distribution, order-free."""

from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.runtime.murmur import murmur_hash32
from fasttts_sglang.runtime.seeded_sampling import filter_probs, gumbel_argmax, merge_seeds, sample

U32 = 0xFFFFFFFF


def murmur3(*blocks: int) -> int:
    """MurmurHash3 x86 32-bit of 32-bit blocks, seed 0, written from its definition."""
    h = 0
    for k in blocks:
        k = k * 0xCC9E2D51 & U32
        k = (k << 15 | k >> 17) & U32
        h ^= k * 0x1B873593 & U32
        h = (h << 13 | h >> 19) & U32
        h = (h * 5 + 0xE6546B64) & U32
    h ^= 4 * len(blocks)
    h = (h ^ h >> 16) * 0x85EBCA6B & U32
    h = (h ^ h >> 13) * 0xC2B2AE35 & U32
    return h ^ h >> 16


@given(
    seed=st.integers(0, 2**63 - 1),
    position=st.integers(0, 2**31 - 1),
    column=st.integers(0, 2**20),
)
def test_hash_is_murmur3(seed: int, position: int, column: int) -> None:
    hashed = murmur_hash32(*(torch.tensor([x]) for x in (seed, position, column)))
    assert hashed.item() == murmur3(seed & U32, seed >> 32, position, column)


def rows(count: int, vocab: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    probs = torch.rand(count, vocab, generator=generator).softmax(-1)
    seeds = torch.randint(2**62, (count,), generator=generator)
    positions = torch.randint(2000, (count,), generator=generator)
    return probs, seeds, positions


@given(count=st.integers(1, 20), data=st.data())
def test_a_rows_token_depends_on_the_row_alone(count: int, data: st.DataObject) -> None:
    probs, seeds, positions = rows(count)
    order = torch.tensor(data.draw(st.permutations(range(count))))
    together = gumbel_argmax(probs, seeds, positions)
    shuffled = gumbel_argmax(probs[order], seeds[order], positions[order])
    assert torch.equal(together[order], shuffled)


def test_samples_follow_the_distribution() -> None:
    weights = torch.tensor([0.5, 0.25, 0.125, 0.125, 0.0])
    count = 20_000
    drawn = gumbel_argmax(
        weights.expand(count, -1), torch.full((count,), 7), torch.arange(count)
    ).bincount(minlength=5)
    assert drawn[4] == 0
    assert torch.allclose(drawn / count, weights, atol=0.015)


def info(count: int, **fields: object) -> SimpleNamespace:
    return SimpleNamespace(
        **{
            "top_ks": torch.full((count,), 1 << 30),
            "top_ps": torch.ones(count),
            "min_ps": torch.zeros(count),
            "need_min_p_sampling": False,
            **fields,
        }
    )


def test_a_filter_that_excludes_nothing_changes_no_token() -> None:
    """The noise belongs to the vocabulary column, not to the rank after sorting."""
    probs, seeds, positions = rows(32)
    sampler = SimpleNamespace(enable_deterministic=False)
    batch = info(32, sampling_seed=seeds)
    plain = sample(None, sampler, probs, batch, positions, True)  # type: ignore[arg-type]
    filtered = sample(None, sampler, probs, batch, positions, False)  # type: ignore[arg-type]
    assert torch.equal(plain, filtered)


def test_filters_keep_what_they_should() -> None:
    probs = torch.tensor([[0.1, 0.4, 0.2, 0.3]] * 3)
    kept, ids = filter_probs(
        probs, torch.tensor([2, 9, 9]), torch.tensor([1.0, 0.5, 1.0]), torch.tensor([0.0, 0.0, 0.6])
    )
    chosen = [sorted(ids[i][kept[i] > 0].tolist()) for i in range(3)]
    assert chosen == [[1, 3], [1, 3], [1, 3]]


def test_batches_without_seeds_are_left_to_sglang() -> None:
    called = []
    sample(
        lambda *args: called.append(args),  # type: ignore[arg-type, return-value]
        SimpleNamespace(enable_deterministic=False),
        torch.ones(1, 2),
        info(1, sampling_seed=None),
        torch.zeros(1),
        True,
    )
    assert len(called) == 1


class Info(SimpleNamespace):
    def __len__(self) -> int:
        return int(self.total)


def test_merging_aligns_seeds_with_rows() -> None:
    """SGLang merges seeds only if both sides have them; else the rows would be misaligned."""
    theirs = Info(sampling_seed=torch.tensor([5, 6]), total=2)
    mine = Info(sampling_seed=None, total=5)
    merge_seeds(None, mine, theirs)
    assert len(mine.sampling_seed) == 5
    assert mine.sampling_seed[3:].tolist() == [5, 6]

    mine = Info(sampling_seed=torch.tensor([1, 2]), total=5)
    merge_seeds(None, mine, Info(sampling_seed=None, total=3))
    assert len(mine.sampling_seed) == 5
    assert mine.sampling_seed[:2].tolist() == [1, 2]
