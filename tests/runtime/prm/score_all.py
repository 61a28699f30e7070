"""Scores steps by every family on real SGLang in one process; prints JSON.

python -m tests.runtime.prm.score_all FOLDER   (holds one checkpoint per family, see checkpoints.py)

A scheduler is booted as SGLang does it, but its loop never runs: verifiers are built beside its
generator one after another.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fasttts_sglang.config import ENV, FastTTSConfig
from fasttts_sglang.engine import TINY
from fasttts_sglang.runtime import cpu

from .letters import Letters
from .published import VERDICT_TOKENS

PROBLEM = "Natalia sold clips to 48 of her friends. How many is half of that?"
STEPS = (
    ("Step 1: She sold 48 / 2 = 24.", "Step 2: That is\ntwo lines.", "The answer is \\boxed{24}."),
    ("Step 1: She sold 48 / 2 = 24.", "She sold -3 + 5."),
    ("Half of it is 24.",),
)


def scheduler() -> Any:
    """A real scheduler with the tiny generator and without a verifier."""
    from sglang.srt.managers import scheduler as sglang_scheduler
    from sglang.srt.plugins import load_plugins
    from sglang.srt.server_args import PortArgs, ServerArgs, prepare_server_args

    load_plugins()
    args: ServerArgs = prepare_server_args(
        ["--model-path", str(TINY / "generator"), "--page-size", "1", *flags()]
    )
    sglang_scheduler.configure_scheduler_process(args, 0, 0, 0, 0, 0, 0, None)
    sglang_scheduler.publish(args, role="scheduler")
    return sglang_scheduler.Scheduler(args, PortArgs.init_new(args), 0, 0, 0, 0, 0, 0, None)


def flags() -> list[str]:
    found = []
    for name, value in {**cpu.server_args(), "max_total_tokens": 4000}.items():
        flag = "--" + name.replace("_", "-")
        found += [flag] if value is True else [flag, str(value)]
    return found


def jobs(runner: Any, answers: Sequence[Sequence[str]], *, finished: bool) -> list[Any]:
    """A job per answer, with all its steps."""
    from fasttts_sglang.runtime.messages import SearchMessage
    from fasttts_sglang.runtime.reading import Reading, ScoreJob

    message = SearchMessage(rid="x", prompt_ids=[], problem=PROBLEM, params={})
    made = []
    for steps in answers:
        reading = Reading.of(runner.renderer.prompt(message), PROBLEM)
        for index, step in enumerate(steps):
            last = index == len(steps) - 1
            text = step if last else step + "\n\n"
            ids = [ord(c) for c in text]
            question = runner.renderer.question(ids, index)
            reading.add(runner.renderer.step(ids, index, last and finished), question)
        made.append(ScoreJob(reading, 0))
    return made


def score(worker: Any, future_map: Any, how: str) -> list[list[float]]:
    """Scores of all STEPS on an empty cache."""
    from fasttts_sglang.runtime.verdicts import GenerativeVerifier
    from fasttts_sglang.runtime.verifier_runner import VerifierRunner
    from fasttts_sglang.verifier.score_cache import ScoreCache

    chunk = 24 if how == "in small batches" else 100_000
    common = (worker, future_map, chunk, ScoreCache(1000))
    runner: Any = VerifierRunner(*common)
    if worker.family.verdict is not None:
        runner = GenerativeVerifier(*common, VERDICT_TOKENS)
    runner.flush()

    def finish(made: list[Any]) -> None:
        runner.score(made)
        while runner.busy:
            runner.step()
        assert all(job.done and job.error is None for job in made), made[0].error

    made = jobs(runner, STEPS, finished=True)
    if how == "one by one":
        for job in made:
            finish([job])
            runner.flush()
    elif how == "step by step":
        for length in (1, 2):
            finish(jobs(runner, [steps[:length] for steps in STEPS], finished=False))
        finish(made)
    else:
        finish(made)
    leak = runner.leak()
    assert leak is None, leak
    return [job.scores for job in made]


def with_fault(worker: Any, future_map: Any, where: str) -> dict[str, Any]:
    """What becomes of all STEPS if something raises for the second answer, whatever it is with."""
    from fasttts_sglang.runtime.verifier_runner import VerifierRunner
    from fasttts_sglang.verifier.score_cache import ScoreCache

    runner = VerifierRunner(worker, future_map, 100_000, ScoreCache(1000))
    runner.flush()
    made = jobs(runner, STEPS, finished=True)
    wrong = list(made[1].token_ids)
    owner: Any = runner if where == "_forward" else runner._rows
    works = getattr(owner, where)

    def fails(what: Any, *rest: Any) -> Any:
        reqs = getattr(what, "reqs", what)  # a batch's, a list of them, or the tokens of one
        found = [what] if where == "request" else [req.origin_input_ids for req in reqs]
        if any(list(ids) == wrong for ids in found):
            raise RuntimeError("no memory left")
        return works(what, *rest)

    setattr(owner, where, fails)
    runner.lane.synchronous = False  # `score` would wait for ever if it never ended
    runner.score(made)
    for _ in range(20):
        runner.step()
    setattr(owner, where, works)
    return {
        "busy": runner.busy,
        "leak": runner.leak(),
        "errors": [job.error for job in made],
        "scores": [job.scores for job in made],
    }


FAULTY = "skywork"
FAULTS = ("request", "prefill", "_forward")
HOW = ("together", "one by one", "step by step", "in small batches")


def main(folder: Path) -> None:
    """All families, all ways."""
    from fasttts_sglang.runtime.verifier_worker import VerifierWorker

    booted = scheduler()
    booted.tokenizer = Letters()
    found: dict[str, dict[str, list[list[float]]]] = {}
    for path in sorted(folder.iterdir()):
        config = FastTTSConfig(verifier_path=str(path), prm_family=path.name, verifier_tokens=4000)
        worker = VerifierWorker(booted, config)
        found[path.name] = {how: score(worker, booted.future_map, how) for how in HOW}
        if path.name == FAULTY:
            faults = {where: with_fault(worker, booted.future_map, where) for where in FAULTS}
            print("FAULTS " + json.dumps(faults), flush=True)
    print("SCORES " + json.dumps(found), flush=True)


if __name__ == "__main__":
    os.environ[ENV] = FastTTSConfig().to_env()
    cpu.prepare()
    main(Path(sys.argv[1]))
    os._exit(0)  # SGLang's threads need no farewell
