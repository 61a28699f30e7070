"""The score cache: a bounded map keyed by tokens."""

from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.verifier.score_cache import ScoreCache

tokens = st.lists(st.integers(0, 2**31), max_size=6)


@given(tokens, tokens, tokens)
def test_equal_prefixes_share_a_key_and_others_do_not(
    a: list[int], b: list[int], c: list[int]
) -> None:
    key = ScoreCache.extend(ScoreCache.extend(b"", a), b)
    again = ScoreCache.extend(ScoreCache.extend(b"", list(a)), list(b))
    other = ScoreCache.extend(ScoreCache.extend(b"", a), c)
    assert key == again
    assert (key == other) == (b == c)


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_it_holds_the_most_recently_used(capacity: int, actions: list[tuple[bool, int]]) -> None:
    cache, model = ScoreCache(capacity), dict[bytes, float]()
    for write, number in actions:
        key = bytes([number])
        if write:
            cache.put(key, number / 10)
            model.pop(key, None)
            model[key] = number / 10
            if len(model) > capacity:
                del model[next(iter(model))]
        else:
            assert cache.get(key) == model.get(key)
            if key in model:
                model[key] = model.pop(key)
    assert len(cache) == len(model) <= capacity


def test_a_score_of_zero_is_a_score() -> None:
    cache = ScoreCache(4)
    cache.put(b"k", 0.0)
    assert cache.get(b"k") == 0.0
