"""`fasttts solve`: one search with live progress, then the answer and how it was found."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .errors import BadRequest, ConfigError
from .models import tiny_task
from .report import command as pictures
from .search.params import SearchParams
from .search.result import SearchResult

DEMO_SEED = 2026  # its first problem: a beam search of 4 is right, a vote of 4 samples is wrong


def solve(
    problem: str | None,
    overrides: dict[str, Any],
    *,
    demo: bool,
    as_json: bool,
    report: Path | None,
    trace: Path | None,
    model: str | None,
    verifier: str | None,
    engine_args: dict[str, Any],
) -> int:
    """Solve `problem` and print the result.

    Args:
        problem: The user's text; None only with `demo`.
        overrides: SearchParams fields given by the user.
        demo: Take a problem of the bundled task.
        as_json: Print SearchResult.to_dict() and nothing else.
        report, trace: Where to write a page on the search, and a trace of it.
        model, verifier: Paths; None means the bundled tiny pair.
        engine_args: Further arguments of `sglang.Engine`.

    Returns:
        0, or 1 if no candidate reached an answer.

    Raises:
        BadRequest, ConfigError: Bad input.
        SearchFailed: The search ended without a result.
    """
    truth = None  # known only of a bundled problem
    if demo and not problem:
        problem = tiny_task.problems(DEMO_SEED, 1, "heldout")[0]
        truth = str(tiny_task.true_answer(problem))
    if not problem:
        raise BadRequest("problem", "is empty; give one, or --demo")
    pictures.check_writable(report=report, trace=trace)
    if report or trace:
        overrides = {**overrides, "timeline": True}
    params = SearchParams.from_dict({**defaults(model, verifier), **overrides})
    console = Console(stderr=True, quiet=as_json)
    began = time.perf_counter()
    with console.status("starting SGLang with both models ..."):
        from .engine import FastTTSEngine

        engine = FastTTSEngine(model, verifier, **engine_args)
    with engine:
        console.print(f"ready after {time.perf_counter() - began:.0f} s", style="dim")
        result = _watch(engine, problem, params, console)
    if as_json:
        json.dump(result.to_dict(), sys.stdout)
        print()
    else:
        show(result, problem, truth, Console())
    pictures.write(result, page_out=report, trace_out=trace)
    return 0 if result.answer is not None else 1


def defaults(model: str | None, verifier: str | None) -> dict[str, Any]:
    """Search parameters that suit the bundled pair, if it is what runs.

    Raises:
        ConfigError: A verifier is given without a generator.
    """
    if verifier and not model:
        raise ConfigError("--verifier needs --model: the bundled pair has a verifier of its own")
    return {} if model else dict(tiny_task.SEARCH)


def _watch(engine: Any, problem: str, params: SearchParams, console: Console) -> SearchResult:
    with Live(console=console, refresh_per_second=8, transient=True) as live:

        def on_progress(progress: dict[str, Any]) -> None:
            best = progress["best_score"]
            live.update(
                Text(
                    f"round {progress['round']:>3}   children {progress['num_children']:>4}   "
                    f"complete {progress['num_complete']:>3}   "
                    f"best score {'-' if best is None else format(best, '.3f')}   "
                    f"{progress['generated_tokens']} tokens   {progress['elapsed_s']:.1f} s"
                )
            )

        result: SearchResult = engine.search(problem, params, on_progress=on_progress)
        return result


def show(result: SearchResult, problem: str, truth: str | None, console: Console) -> None:
    """Print the best path step by step, the answer, what it cost, and whether it is `truth`."""
    title = Text(problem)
    table = Table(title=title, title_justify="left", show_lines=False, box=None, pad_edge=False)
    table.add_column("score", justify="right", style="cyan")
    table.add_column("step")
    for step in result.best.steps if result.best else ():
        score = "-" if step.score is None else f"{step.score:.3f}"
        table.add_row(score, Text(step.text.strip()))
    console.print(table)
    answer = "no answer" if result.answer is None else result.answer
    console.print(Text("answer: ", style="bold") + Text(answer, style="bold green"))
    usage, complete = result.usage, len(result.candidates)
    console.print(
        f"{usage.rounds} rounds, {usage.children} children, {complete} candidates; "
        f"{usage.completion_tokens} tokens generated, {usage.verifier_tokens} verified "
        f"({usage.verifier_cached_tokens} cached); {result.timing['total_s']:.2f} s",
        style="dim",
        highlight=False,
    )
    if truth is not None:
        verdict = "right" if result.answer == truth else f"wrong, it is {truth}"
        console.print(f"checked: {verdict}", style="dim")
