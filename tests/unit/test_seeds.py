"""Seeds belong to paths."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.search.seeds import child_seed, path_seed

seeds = st.integers(0, 2**63 - 1)
children = st.integers(0, 4096)


@given(seeds, st.integers(0, 100), children)
def test_a_seed_is_one_that_sglang_takes(seed: int, depth: int, child: int) -> None:
    assert 0 <= child_seed(seed, depth, child) < 2**63


@given(seeds, st.lists(children, max_size=6).map(tuple))
def test_child_0_inherits(seed: int, path: tuple[int, ...]) -> None:
    assert path_seed(seed, (*path, 0)) == path_seed(seed, path)


@given(seeds)
def test_different_branches_have_different_seeds(seed: int) -> None:
    """Path (0, 1) once shared its seed with path (1,): cousins drew the same tokens.

    Only paths that end in child 0 share a seed, with their parent.
    """
    paths = [p for depth in (1, 2, 3) for p in product(range(5), repeat=depth) if p[-1]]
    assert len({path_seed(seed, path) for path in paths}) == len(paths)
