"""Runs a task over a grid of algorithms and widths; every graded answer is one line of a file."""

import hashlib
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigError
from ..search.params import SearchParams
from ..search.result import SearchResult
from .grading import GRADERS
from .statistics import interval, percent
from .tasks import Problem, Task

Key = tuple[str, str, str, int, int, str]


@dataclass(frozen=True, slots=True)
class Record:
    """One graded answer. Tokens and seconds are of the whole search."""

    task: str
    problem: str
    algorithm: str
    n: int
    seed: int
    setting: str  # a digest of all else that the answer and its grade depend on
    answer: str | None
    truth: str
    right: bool
    completion_tokens: int
    speculated_wasted: int
    verifier_tokens: int
    latency_s: float

    @property
    def key(self) -> Key:
        """What is not computed twice."""
        return self.task, self.problem, self.algorithm, self.n, self.seed, self.setting


def key(task: Task, problem: Problem, params: SearchParams, models: str) -> Key:
    """`Record.key` of the record that there is not yet."""
    told = (problem.text, problem.truth, task.grader, models, params.to_dict())
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    return task.name, problem.id, params.algorithm, params.n, params.seed, digest


class Engine(Protocol):
    """The part of FastTTSEngine that is needed."""

    def search(self, prompt: list[str], params: Sequence[SearchParams]) -> list[SearchResult]:
        """Search all prompts at once."""


def run(
    engine: Engine,
    task: Task,
    settings: Sequence[SearchParams],
    *,
    models: str,
    done: Iterable[Record],
    together: int,
) -> Iterator[Record]:
    """Search every problem with every setting that is not `done`, `together` at a time.

    Args:
        models: What `engine` runs: answers of other models are not taken for its own.
    """
    known = {record.key for record in done}
    work = [
        (problem, params)
        for params in settings
        for problem in task.problems
        if key(task, problem, params, models) not in known
    ]
    for begin in range(0, len(work), together):
        part = work[begin : begin + together]
        results = engine.search([p.text for p, _ in part], [params for _, params in part])
        for (problem, params), result in zip(part, results, strict=True):
            yield _record(key(task, problem, params, models), problem, result, GRADERS[task.grader])


def _record(
    key: Key, problem: Problem, result: SearchResult, same: Callable[[str, str], bool]
) -> Record:
    return Record(
        *key,
        answer=result.answer,
        truth=problem.truth,
        right=result.answer is not None and same(result.answer, problem.truth),
        completion_tokens=result.usage.completion_tokens,
        speculated_wasted=result.usage.speculated_wasted,
        verifier_tokens=result.usage.verifier_tokens,
        latency_s=round(result.timing["total_s"], 4),
    )


def read(path: Path) -> list[Record]:
    """Records of an earlier run.

    Raises:
        ConfigError: A line is no record. A last line that was cut off is dropped.
    """
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(Record(**json.loads(line)))
        except (ValueError, TypeError) as exc:
            if number == len(lines) and not line.endswith("\n"):
                path.write_text("".join(lines[:-1]))
                break
            raise ConfigError(f"--out: {path}:{number} is no record of an evaluation") from exc
    return records


def append(path: Path, record: Record) -> None:
    """Write one more line."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def summary(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Accuracy and cost per algorithm and width, over problems and seeds."""
    rows = []
    for algorithm, n in sorted({(record.algorithm, record.n) for record in records}):
        part = [r for r in records if (r.algorithm, r.n) == (algorithm, n)]
        rows.append(
            {
                "algorithm": algorithm,
                "n": n,
                "problems": len(part),
                "accuracy": interval([float(record.right) for record in part]),
                "tokens": round(statistics.fmean(r.completion_tokens for r in part)),
                "verifier_tokens": round(statistics.fmean(r.verifier_tokens for r in part)),
                "latency_s": round(statistics.median(r.latency_s for r in part), 3),
            }
        )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as a markdown table."""
    lines = [
        "| algorithm | n | problems | accuracy % (95 % interval) | tokens | verifier tokens"
        " | median latency s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['algorithm']} | {row['n']} | {row['problems']} | {percent(row['accuracy'])}"
            f" | {row['tokens']} | {row['verifier_tokens']} | {row['latency_s']} |"
        )
    return "\n".join(lines)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy over generated tokens, one line per algorithm, as a PNG.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 4), layout="constrained")
    for algorithm in sorted({row["algorithm"] for row in rows}):
        part = sorted(
            (row for row in rows if row["algorithm"] == algorithm), key=lambda row: row["tokens"]
        )
        means = [100 * row["accuracy"][0] for row in part]
        below = [100 * (row["accuracy"][0] - row["accuracy"][1]) for row in part]
        above = [100 * (row["accuracy"][2] - row["accuracy"][0]) for row in part]
        tokens = [row["tokens"] for row in part]
        axes.errorbar(tokens, means, (below, above), marker="o", capsize=3, label=algorithm)
    axes.set(xlabel="generated tokens per problem", ylabel="accuracy, %", xscale="log")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
