"""Equality as mathematics: right, from any thread, and within bounds on hostile answers."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("math_verify", reason="the extra `eval` is not installed")

from fasttts_sglang.mathematics import equality
from fasttts_sglang.mathematics.equality import MAX_CHARS, Equality


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1/2", "0.5", True),
        (r"\frac{1}{2}", r"\dfrac12", True),
        ("x=3", "3", True),
        ("(x+1)^2", "x^2+2x+1", True),
        (r"\{1, 2\}", r"\{2, 1\}", True),
        ("1/3", "0.5", False),
        ("(1, 2)", "(2, 1)", False),
        ("", "1", False),
        ("{" * 300, "1", False),
        ("\x00\ud800\n", "1", False),
    ],
)
def test_pairs(one: str, other: str, equal: bool) -> None:
    assert Equality()(one, other) is equal


def test_an_answer_that_would_take_for_ever_is_unequal() -> None:
    """math-verify's own time limit is a signal, which works on the main thread only and does not
    end an operation on large integers."""
    equal = Equality(budget_s=1)
    began = time.process_time()
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(equal, "99999999!", "7").result()
    assert time.process_time() - began < 1, "it was computed in this process"
    assert not equal("1/2", "0.5"), "the budget of a vote does not end"
    assert Equality()("1/2", "0.5"), "there is no worker after the one that died"


def test_long_answers_do_not_reach_the_library() -> None:
    long = "1+" * (MAX_CHARS // 2) + "1"
    assert not Equality()(long, str(MAX_CHARS // 2 + 1))
    assert not Equality()("{" * 100_000, "1")


def test_many_threads_share_one_process() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: Equality()(f"{2 * k}/2", str(k)), range(40)))
    assert all(found)


def test_a_worker_that_died_between_votes_is_replaced() -> None:
    assert Equality()("1/2", "0.5")
    process = equality._WORKER._process
    assert process is not None
    process.kill()
    process.wait()
    assert not Equality()("1/2", "0.5"), "its last comparison is lost"
    assert Equality()("1/2", "0.5")
