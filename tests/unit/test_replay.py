"""The replay workload: what the benchmarks' distribution promises."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.errors import ConfigError
from fasttts_sglang.search.core import Finish
from fasttts_sglang.search.replay import Replay, ReplaySpec

paths = st.lists(st.integers(0, 30), min_size=1, max_size=10).map(tuple)


@given(paths, paths, st.integers(0, 2**63 - 1))
def test_a_draw_depends_on_seed_and_path_alone(
    path: tuple[int, ...], other: tuple[int, ...], seed: int
) -> None:
    one, two = Replay(ReplaySpec(), seed), Replay(ReplaySpec(), seed)
    two.score(other), two.step_tokens(other)  # what was asked before must not matter
    assert one.score(path) == two.score(path)
    assert one.step_tokens(path) == two.step_tokens(path)
    assert one.finish(path) == two.finish(path)
    assert 0 < one.score(path) < 1
    assert one.step_tokens(path) >= 1


def test_lengths_and_scores_follow_the_distribution() -> None:
    replay = Replay(ReplaySpec(), 1)
    lengths = [replay.step_tokens((i, 0)) for i in range(4000)]
    assert statistics.fmean(lengths) == pytest.approx(70, rel=0.05)
    logs = [math.log(n) for n in lengths]
    assert statistics.stdev(logs) == pytest.approx(0.6, abs=0.05)

    def latent(path: tuple[int, ...]) -> float:
        score = replay.score(path)
        return math.log(score / (1 - score))

    pairs = [(latent((i,)), latent((i, 3))) for i in range(4000)]
    assert statistics.correlation(*zip(*pairs, strict=True)) == pytest.approx(0.8, abs=0.04)
    assert statistics.stdev(child for _, child in pairs) == pytest.approx(1, abs=0.05)


def test_paths_end_after_every_allowed_number_of_steps_alike() -> None:
    replay = Replay(ReplaySpec(min_steps=2, max_steps=4), 7)
    ends = dict.fromkeys(range(1, 6), 0)
    for i in range(3000):
        depth = next(d for d in range(1, 6) if replay.finish((i,) + (0,) * (d - 1)) is Finish.EOS)
        ends[depth] += 1
    assert ends[1] == ends[5] == 0
    assert all(ends[depth] == pytest.approx(1000, abs=100) for depth in (2, 3, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object of mean_tokens"),
        ('{"length": 3}', "must be a JSON object of mean_tokens"),
        ('{"rho": 2}', r"rho must be in \[0, 1\], got 2"),
        ('{"min_steps": 5, "max_steps": 4}', r"max_steps must be in \[5, 1000\], got 4"),
        ('{"sigma": "wide"}', "sigma must be in"),
    ],
)
def test_a_wrong_distribution_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReplaySpec.from_json(text)
