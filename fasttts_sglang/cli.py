"""fasttts: solve a problem, look at how it was solved, measure accuracy, plan memory, or serve."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from . import __version__
from . import fields as declared
from .errors import BadRequest, FastTTSError
from .memory.machines import MACHINES
from .memory.shapes import SHAPES
from .memory.workload import Workload
from .search.params import SearchParams, add_flags

USAGE_ERROR = 2
_GRADERS = ("string", "choice", "math", "code")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 for bad input, 1 for a failed search)."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
        return status
    except BadRequest as exc:
        flag = "--" + exc.field.replace("_", "-")
        print(f"fasttts: {flag}: {str(exc).removeprefix(exc.field + ': ')}", file=sys.stderr)
        return USAGE_ERROR
    except FastTTSError as exc:
        print(f"fasttts: {exc}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("fasttts", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    solve = commands.add_parser("solve", help="search the answer to a problem", allow_abbrev=False)
    solve.add_argument("problem", nargs="?", help="the problem; `-` reads standard input")
    solve.add_argument("--demo", action="store_true", help="a bundled problem for the tiny pair")
    solve.add_argument("--json", action="store_true", help="print the whole result as JSON")
    solve.add_argument("--report", type=Path, metavar="HTML", help="write a page on the search")
    solve.add_argument("--trace", type=Path, metavar="JSON", help="write a trace for Perfetto")
    _add_models(solve)
    add_flags(solve)
    solve.set_defaults(run=_solve)

    report = commands.add_parser(
        "report", help="draw what `solve --timeline --json` printed", allow_abbrev=False
    )
    report.add_argument("result", help="its JSON; `-` reads standard input")
    report.add_argument("-o", "--out", type=Path, help="the page; default: RESULT with .html")
    report.add_argument(
        "--trace", type=Path, metavar="JSON", help="write a trace for Perfetto; alone: no page"
    )
    report.set_defaults(run=_report)

    evaluate = commands.add_parser(
        "eval",
        help="accuracy and cost of algorithms and widths on a task; goes on where it ended",
        allow_abbrev=False,
        conflict_handler="resolve",
    )
    add_flags(evaluate)
    evaluate.add_argument("--task", default="tiny", help="a name (tiny, gsm8k, ...) or JSON lines")
    evaluate.add_argument("--algorithm", nargs="+", default=["beam"], help="one or several")
    evaluate.add_argument("--n", nargs="+", type=int, default=[8], help="one or several widths")
    evaluate.add_argument("--seed", nargs="+", type=int, default=[0], help="one or several")
    evaluate.add_argument("--limit", type=int, help="first so many problems")
    evaluate.add_argument("--grader", choices=_GRADERS, help="of answers")
    evaluate.add_argument("--together", type=int, default=16, help="searches at once")
    evaluate.add_argument("--out", type=Path, required=True, help="JSON lines; appended to")
    _add_models(evaluate)
    evaluate.set_defaults(run=_eval)

    plan = commands.add_parser(
        "plan",
        help="how to split a GPU's KV memory between two models; loads neither",
        allow_abbrev=False,
        conflict_handler="resolve",
    )
    declared.add_arguments(plan, Workload)
    plan.add_argument("-n", "--n", type=int, metavar="N", help="number of beams; default: 64")
    plan.add_argument(
        "--model", required=True, help=f"folder with a config.json, or {', '.join(SHAPES)}"
    )
    plan.add_argument("--verifier", required=True, help="the same of the process reward model")
    plan.add_argument("--gpu-memory", required=True, metavar="SIZE", help="such as 24GiB")
    plan.add_argument(
        "--mem-fraction-static",
        type=float,
        default=0.88,
        metavar="F",
        help="part of it for weights and KV, as SGLang's flag; default: 0.88",
    )
    plan.add_argument(
        "--machine",
        default="rtx-4090",
        help=f"{', '.join(MACHINES)}, or a JSON file; default: rtx-4090",
    )
    plan.add_argument("--json", action="store_true", help="print the plan and its curve as JSON")
    plan.add_argument("--plot", type=Path, metavar="PNG", help="write the curve")
    plan.set_defaults(run=_plan)

    serve = commands.add_parser(
        "serve",
        help="start a server; takes every flag of python -m fasttts_sglang.launch_server",
        add_help=False,
        allow_abbrev=False,
    )
    serve.add_argument("argv", nargs=argparse.REMAINDER)
    serve.set_defaults(run=_serve)
    return parser


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="generator; default: the bundled tiny pair")
    parser.add_argument("--verifier", help="process reward model that goes with --model")
    parser.add_argument(
        "--engine", type=_json_object, default={}, help="arguments of sglang.Engine, as JSON"
    )


def _eval(args: argparse.Namespace) -> int:
    from .evaluation.command import evaluate

    grid = ("algorithm", "n", "seed")
    given = {f.name: getattr(args, f.name) for f in fields(SearchParams) if f.name not in grid}
    return evaluate(
        args.task,
        {name: value for name, value in given.items() if value is not None},
        algorithms=args.algorithm,
        widths=args.n,
        seeds=args.seed,
        limit=args.limit,
        grader=args.grader,
        together=args.together,
        out=args.out,
        model=args.model,
        verifier=args.verifier,
        engine_args=args.engine,
    )


def _plan(args: argparse.Namespace) -> int:
    from .memory.command import plan

    given = {f.name: getattr(args, f.name) for f in fields(Workload)}
    return plan(
        args.model,
        args.verifier,
        gpu_memory=args.gpu_memory,
        mem_fraction_static=args.mem_fraction_static,
        machine=args.machine,
        workload=Workload(**{name: value for name, value in given.items() if value is not None}),
        as_json=args.json,
        plot=args.plot,
    )


def _report(args: argparse.Namespace) -> int:
    from .report.command import report

    return report(args.result, out=args.out, trace_out=args.trace)


def _solve(args: argparse.Namespace) -> int:
    from .solve import solve

    given = {f.name: getattr(args, f.name) for f in fields(SearchParams)}
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    problem = sys.stdin.read().strip() if args.problem == "-" else args.problem
    return solve(
        problem,
        overrides,
        demo=args.demo,
        as_json=args.json,
        report=args.report,
        trace=args.trace,
        model=args.model,
        verifier=args.verifier,
        engine_args=args.engine,
    )


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object, got {text}")
    return value


def _serve(args: argparse.Namespace) -> int:
    from .launch_server import main as launch

    launch(args.argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
