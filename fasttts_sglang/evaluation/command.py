"""`fasttts eval` itself."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import BadRequest, ConfigError
from ..mathematics import equality
from ..search.params import SearchParams
from ..solve import defaults
from . import grid, tasks
from .grading import GRADERS, READ_AS


def evaluate(
    task_name: str,
    overrides: dict[str, Any],
    *,
    algorithms: list[str],
    widths: list[int],
    seeds: list[int],
    limit: int | None,
    grader: str | None,
    together: int,
    out: Path,
    model: str | None,
    verifier: str | None,
    engine_args: dict[str, Any],
) -> int:
    """Run what `out` does not hold yet, then print the summary and write it beside `out`.

    Args:
        task_name: See `tasks.load`.
        overrides: SearchParams fields for all settings.
        algorithms, widths, seeds: The grid.
        limit: Number of problems; None for all.
        grader: None for the task's own.
        together: Searches at once.
        out: JSON lines, one per graded answer; appended to.
        model, verifier: Paths; None means the bundled tiny pair.
        engine_args: Further arguments of `sglang.Engine`.

    Raises:
        BadRequest, ConfigError: Bad input, found before anything boots.
        SearchFailed: A search ended without a result; what was graded is in `out`.
    """
    if together < 1:
        raise ConfigError(f"--together: must be at least 1, got {together}")
    task = tasks.load(task_name, limit)
    task = replace(task, grader=grader or task.grader)
    suited = {"answer": READ_AS[task.grader]} if task.grader in READ_AS else {}
    fixed = {**defaults(model, verifier), **suited, **overrides}
    settings = [
        SearchParams.from_dict({**fixed, "algorithm": name, "n": n, "seed": seed})
        for name in algorithms
        for n in widths
        for seed in seeds
    ]
    GRADERS[task.grader]("1", "2")  # is there what it needs?
    if fixed.get("grouping") == "math" and not equality.available():
        raise BadRequest("grouping", equality.MISSING)
    records = grid.read(out)
    console = Console(stderr=True)
    total = len(task.problems) * len(settings)
    models = f"{model or 'tiny'} {verifier or ''}"
    keys = {
        grid.key(task, problem, params, models) for problem in task.problems for params in settings
    }
    if not keys <= {record.key for record in records}:
        with console.status("starting SGLang with both models ..."):
            from ..engine import FastTTSEngine

            engine = FastTTSEngine(model, verifier, **engine_args)
        with engine, _bar(console) as bar:
            line = bar.add_task(task.name, total=total, completed=total - _missing(keys, records))
            found = grid.run(engine, task, settings, models=models, done=records, together=together)
            for record in found:
                grid.append(out, record)
                records.append(record)
                bar.advance(line)
    rows = grid.summary([record for record in records if record.key in keys])
    text = grid.table(rows)
    print(text)
    out.with_suffix(".md").write_text(
        f"# {task.name}: {len(task.problems)} problems\n\nGraded by `{task.grader}`; intervals:"
        f" bootstrap over problems and seeds {seeds}; all but algorithm, n and seed:"
        f" `{fixed}`.\n\n{text}\n"
    )
    try:
        grid.plot(rows, out.with_suffix(".png"))
    except ImportError:
        print("no plot: matplotlib is missing; install the extra `bench`", file=sys.stderr)
    return 0


def _missing(keys: set[grid.Key], records: list[grid.Record]) -> int:
    return len(keys - {record.key for record in records})


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)
