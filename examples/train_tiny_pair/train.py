"""Train the bundled tiny pair: generator, rollouts, verifier, evaluation, export.

python examples/train_tiny_pair/train.py --out tiny            # minutes on one GPU
python examples/train_tiny_pair/train.py --out tiny --smoke    # under a minute on a CPU
"""

import argparse
import copy
import json
import os
import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import evaluate
import torch
from data import Example, examples, stream, workers
from evaluate import AGGREGATIONS, Pair
from export import export
from fit import Rollout, State, fit_generator, fit_verifier, rollout
from network import config, round_weights, verifier_from
from sampling import sample
from tokens import EOS
from transformers import Qwen2ForCausalLM


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the result, besides the task."""

    steps: int = 5500
    batch_tokens: int = 40_000
    chunk: int = 4096
    snapshot_every: int = 50
    num_rollouts: int = 50_000
    epochs: int = 4
    token_weight: float = 0.5
    num_dev: int = 500
    num_heldout: int = 500
    target: float = 0.48  # single-sample accuracy at which the generator's training stops
    temperature: float = 1.0
    n: tuple[int, ...] = (8, 16)
    branch: int = 4
    seed: int = 7


SMOKE = Plan(
    steps=30, batch_tokens=4000, chunk=64, snapshot_every=10, num_rollouts=48, epochs=1,
    num_dev=8, num_heldout=8, n=(4,), branch=2,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained pair")
    parser.add_argument("--minutes", type=float, default=6, help="time box of the whole run")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to test the script")
    args = parser.parse_args()
    plan = SMOKE if args.smoke else Plan()
    device = "cuda" if torch.cuda.device_count() else "cpu"
    torch.manual_seed(plan.seed)
    torch.set_float32_matmul_precision("high")
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    def log(message: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {message}", flush=True)

    seconds = args.minutes * 60
    with workers(max(1, (os.cpu_count() or 2) - 2)) as pool:
        model = Qwen2ForCausalLM(config(smoke=args.smoke)).to(device)
        log(f"{sum(p.numel() for p in model.parameters())} parameters on {device}")
        snapshots = fit_generator(
            model,
            stream(pool, plan.seed, plan.chunk),
            steps=plan.steps,
            seconds=0.4 * seconds,
            snapshot_every=plan.snapshot_every,
            seed=plan.seed,
            batch_tokens=plan.batch_tokens,
        )
        rng = torch.Generator(device).manual_seed(plan.seed)
        dev = examples(plan.seed, plan.num_dev, "dev")
        step, generator, history = choose_snapshot(model, snapshots, dev, plan, rng, log)
        export(args.out, generator, verifier_from(model), plan.temperature)
        kept = [s for s in snapshots if 0.3 <= history.get(s[0], 0) <= 0.75]
        torch.save([*kept[-1:], snapshots[-1]], args.out / "snapshots.pt")

        log("sampling rollouts")
        fresh = stream(pool, plan.seed + 1, plan.chunk)
        rollouts = sample_rollouts(generator, fresh, plan, rng, 0.2 * seconds)
    right = sum(r.ids[-1] == EOS and r.num_right == len(r.ids) for r in rollouts)
    log(f"{len(rollouts)} rollouts, {right / len(rollouts):.1%} right in every step")

    verifier = verifier_from(model)  # the trunk starts from the fully trained weights
    fit_verifier(
        verifier,
        rollouts,
        epochs=plan.epochs,
        seconds=0.2 * seconds,
        token_weight=plan.token_weight,
        seed=plan.seed,
        batch_tokens=plan.batch_tokens,
    )
    round_weights(verifier.eval())
    export(args.out, generator, verifier, plan.temperature)
    log("exported; evaluating")

    report: dict[str, Any] = {"generator_step": step, "snapshots": history}
    full = Pair(generator, verifier, plan.temperature, rng)
    half = full
    if device == "cuda":
        half = replace(full, generator=_as(generator, torch.bfloat16))
        half = replace(half, verifier=_as(verifier, torch.bfloat16))
    largest = plan.n[-1:]
    report["dev"] = measure(half, dev, plan, largest, tuple(AGGREGATIONS), log)
    best = max(AGGREGATIONS, key=lambda a: report["dev"][f"beam_{largest[0]}_{a}"]["mean"])
    report["aggregation"] = best
    heldout = examples(plan.seed, plan.num_heldout, "heldout")
    report["heldout"] = measure(full, heldout, plan, plan.n, (best,), log)
    if half is not full:
        report["heldout_bfloat16"] = measure(half, heldout, plan, largest, (best,), log)
    (args.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    log("done")


def choose_snapshot(
    model: Qwen2ForCausalLM,
    snapshots: list[tuple[int, State]],
    dev: list[Example],
    plan: Plan,
    rng: torch.Generator,
    log: Any,
) -> tuple[int, Qwen2ForCausalLM, dict[int, float]]:
    """Return the snapshot whose dev accuracy is nearest the target, by bisection.

    The generator stops early on purpose: one that makes no slips leaves a search nothing to do.
    """
    generator = copy.deepcopy(model).eval()
    verified: dict[int, float] = {}

    def accuracy(index: int) -> float:
        step, weights = snapshots[index]
        if step not in verified:
            generator.load_state_dict(weights)
            new = _respond(generator, dev, plan, rng)
            hits = [rollout(e, r).num_right == len(e.ids) for e, r in zip(dev, new, strict=True)]
            verified[step] = sum(hits) / len(hits)
            log(f"snapshot {step}: dev accuracy {verified[step]:.3f}")
        return verified[step]

    low, high = 0, len(snapshots) - 1
    accuracy(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accuracy(middle) < plan.target else (low, middle)
    accuracy(low)
    best = min(verified, key=lambda step: abs(verified[step] - plan.target))
    generator.load_state_dict(dict(snapshots)[best])
    log(f"generator: snapshot {best}")
    return best, generator, dict(sorted(verified.items()))


def sample_rollouts(
    generator: Qwen2ForCausalLM, fresh: Any, plan: Plan, rng: torch.Generator, seconds: float
) -> list[Rollout]:
    """Sample one trace per fresh problem and mark where it leaves the gold trace."""
    fast = _as(generator, torch.bfloat16) if generator.device.type == "cuda" else generator
    rollouts: list[Rollout] = []
    end = time.monotonic() + seconds
    while len(rollouts) < plan.num_rollouts and time.monotonic() < end:
        golds = [gold for chunk in islice(fresh, 2) for gold in chunk]
        new = _respond(fast, golds, plan, rng)
        rollouts += [rollout(gold, ids) for gold, ids in zip(golds, new, strict=True)]
    return rollouts


def _respond(
    generator: Qwen2ForCausalLM, golds: list[Example], plan: Plan, rng: torch.Generator
) -> list[bytes]:
    return sample(
        generator,
        [e.ids[: e.prompt_len] for e in golds],
        temperature=plan.temperature,
        stop=(EOS,),
        max_new=evaluate.MAX_TOKENS,
        rng=rng,
    )


def measure(
    pair: Pair,
    problems: list[Example],
    plan: Plan,
    sizes: tuple[int, ...],
    aggregations: tuple[str, ...],
    log: Any,
) -> dict[str, Any]:
    """Return all accuracies of `pair` on `problems`."""
    groups = evaluate.sample_paths(pair, problems, plan.n[-1])
    single = [sum(p.right for p in group) / len(group) for group in groups]
    votes = [evaluate.majority(group) for group in groups]
    result: dict[str, Any] = {
        "problems": len(problems),
        "lengths": evaluate.lengths(groups),
        "verifier": evaluate.verifier_quality(groups),
        "single": evaluate.interval(single),
        f"majority_{plan.n[-1]}": evaluate.interval(votes),
    }
    for name in aggregations:
        hits = [evaluate.best_of(group, name) for group in groups]
        result[f"best_of_{plan.n[-1]}_{name}"] = evaluate.interval(hits)
        for n in sizes:
            found = evaluate.beam_search(pair, problems, n=n, branch=plan.branch, aggregation=name)
            hits = [float(path.right) for path in found]
            result[f"beam_{n}_{name}"] = evaluate.interval(hits)
            gain = [hit - one for hit, one in zip(hits, single, strict=True)]
            result[f"beam_{n}_{name}_minus_single"] = evaluate.interval(gain)
            gain = [hit - vote for hit, vote in zip(hits, votes, strict=True)]
            result[f"beam_{n}_{name}_minus_majority_{plan.n[-1]}"] = evaluate.interval(gain)
    for key, value in result.items():
        log(f"{key}: {value}")
    return result


def _as(model: Any, dtype: torch.dtype) -> Any:
    return copy.deepcopy(model).to(dtype)


if __name__ == "__main__":
    main()
