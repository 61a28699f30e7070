"""The bundled task: its solutions are right and its splits apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.models import tiny_task


@given(st.integers(0, 10**6))
def test_every_step_of_a_solution_keeps_the_value(seed: int) -> None:
    (problem,) = tiny_task.problems(seed, 1)
    value = tiny_task.true_answer(problem)
    assert value == eval(problem)  # the task's own strings: digits, + - * ( )
    *steps, last = tiny_task.solution_steps(problem)
    for step in steps[:-1]:
        assert tiny_task.true_answer(step.rsplit(";", 1)[1]) == value
    assert last == f"answer:{value}"
    assert tiny_task.extract_answer(tiny_task.solution(problem)) == value


@given(st.integers(0, 10**6), st.data())
def test_steps_are_checked_exactly(seed: int, data: st.DataObject) -> None:
    (problem,) = tiny_task.problems(seed, 1)
    steps = tiny_task.solution_steps(problem)
    wrong = data.draw(st.integers(0, len(steps) - 1))
    place = data.draw(st.integers(0, len(steps[wrong]) - 1))
    broken = steps[wrong][:place] + "?" + steps[wrong][place + 1 :]
    response = "\n\n".join([*steps[:wrong], broken, *steps[wrong + 1 :]])
    assert tiny_task.check_steps(problem, response) == [i < wrong for i in range(len(steps))]


def test_no_problem_is_in_two_splits() -> None:
    found = {split: tiny_task.problems(1, 200, split) for split in ("train", "dev", "heldout")}
    for split, problems in found.items():
        assert {tiny_task.split_of(problem) for problem in problems} == {split}
        assert {tiny_task.split_of(f" {problem} ") for problem in problems} == {split}


@pytest.mark.parametrize(
    "problem", ["", "1+", "a+1", "1/2", "2**3", "-1", "True+1", "1.5+2", "3-5"]
)
def test_what_is_no_problem_is_refused(problem: str) -> None:
    with pytest.raises(ValueError, match="tiny task"):
        tiny_task.solution(problem)
