"""Train the bundled tiny pair: generator, then verifier on the generator's own rollouts.

python examples/train_tiny_pair/train.py --out tiny            # about ten minutes on one GPU
python examples/train_tiny_pair/train.py --out tiny --smoke    # under a minute on a CPU
"""

import argparse
import copy
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.pool import Pool
from pathlib import Path

import torch
from data import Example, examples, stream, workers
from export import export
from fit import Rollout, State, fit_generator, fit_verifier, rollout
from network import (
    Verifier,
    generator_config,
    round_weights,
    verifier_config,
)
from sampling import sample_along
from transformers import Qwen2ForCausalLM


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the result, besides the task."""

    generator_steps: int = 800
    language_steps: int = 600  # of the verifier, before it sees rollouts
    verifier_steps: int = 6000
    passes: int = 3  # over each round of rollouts
    batch_tokens: int = 40_000
    chunk: int = 4096  # problems per worker task; a round of rollouts is four of these
    max_after_slip: int = 48  # tokens: enough to end most steps in which the slip is
    snapshot_every: int = 25
    num_dev: int = 150
    target: float = 0.45  # single-sample accuracy at which the generator's training stops
    temperature: float = 1.0
    seed: int = 7


SMOKE = Plan(
    generator_steps=30, language_steps=8, verifier_steps=20, batch_tokens=4000, chunk=24,
    snapshot_every=10, num_dev=8,
)  # fmt: skip

Log = Callable[[str], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained pair")
    parser.add_argument("--generator", type=Path, help="train only the verifier, for this one")
    parser.add_argument("--minutes", type=float, default=12, help="time box, on a slow machine")
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

    rng = torch.Generator(device).manual_seed(plan.seed)
    dev = examples(plan.seed, plan.num_dev, "dev")
    seconds = args.minutes * 60
    with workers(min(10, max(1, (os.cpu_count() or 2) - 2))) as pool:
        verifier = Verifier(verifier_config(smoke=args.smoke)).to(device)
        if args.generator:
            generator = Qwen2ForCausalLM.from_pretrained(args.generator, dtype=torch.float32)
            generator = generator.to(device).eval()
        else:
            generator = Qwen2ForCausalLM(generator_config(smoke=args.smoke)).to(device)
            train_generator(generator, pool, dev, plan, seconds, rng, log)
        log(f"{_size(generator)} + {_size(verifier)} parameters on {device}")
        fit_verifier(
            verifier,
            stream(pool, plan.seed + 1, plan.chunk),
            rounds(generator, stream(pool, plan.seed + 2, plan.chunk), plan, rng, log),
            language_steps=plan.language_steps,
            passes=plan.passes,
            steps=plan.verifier_steps,
            seconds=(1.0 if args.generator else 0.6) * seconds,
            seed=plan.seed,
            batch_tokens=plan.batch_tokens,
        )
    round_weights(verifier.eval())
    export(args.out, generator, verifier, plan.temperature)
    log(f"wrote {args.out}; measure it with: python -m benchmarks.accuracy")


def train_generator(
    generator: Qwen2ForCausalLM,
    pool: Pool,
    dev: list[Example],
    plan: Plan,
    seconds: float,
    rng: torch.Generator,
    log: Log,
) -> None:
    """Train `generator` on gold traces and load the snapshot nearest the target accuracy."""
    snapshots = fit_generator(
        generator,
        stream(pool, plan.seed, plan.chunk),
        steps=plan.generator_steps,
        seconds=0.4 * seconds,
        snapshot_every=plan.snapshot_every,
        seed=plan.seed,
        batch_tokens=plan.batch_tokens,
    )
    choose_snapshot(generator, snapshots, dev, plan, rng, log)


def choose_snapshot(
    generator: Qwen2ForCausalLM,
    snapshots: list[tuple[int, State]],
    dev: list[Example],
    plan: Plan,
    rng: torch.Generator,
    log: Log,
) -> None:
    """Load the snapshot whose dev accuracy is nearest the target.

    The generator stops early on purpose: one that makes no slips leaves a search nothing to do.
    Accuracy rises with training, so bisection finds the snapshot.
    """
    generator.eval()
    tried: dict[int, float] = {}

    def accuracy(index: int) -> float:
        step, weights = snapshots[index]
        generator.load_state_dict(weights)
        new = _roll_out(generator, dev * 4, plan, rng)
        tried[step] = sum(r.right for r in new) / len(new)
        log(f"snapshot {step}: dev accuracy {tried[step]:.3f}")
        return tried[step]

    low, high = 0, len(snapshots) - 1
    accuracy(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accuracy(middle) < plan.target else (low, middle)
    accuracy(low)
    best = min(tried, key=lambda step: abs(tried[step] - plan.target))
    generator.load_state_dict(dict(snapshots)[best])
    log(f"generator: snapshot {best}")


def rounds(
    generator: Qwen2ForCausalLM,
    fresh: Iterator[list[Example]],
    plan: Plan,
    rng: torch.Generator,
    log: Log,
) -> Iterator[list[Rollout]]:
    """Yield endless rounds of rollouts, each of new problems."""
    fast = copy.deepcopy(generator)
    if generator.device.type == "cuda":
        fast = fast.bfloat16()
    right = total = 0
    while True:
        golds = [gold for chunk in islice(fresh, 4) for gold in chunk]
        found = _roll_out(fast, golds, plan, rng)
        if not total:
            right, total = sum(r.right for r in found), len(found)
            log(f"{right / total:.1%} of the first {total} rollouts are right in every step")
        yield found


def _roll_out(
    generator: Qwen2ForCausalLM, golds: list[Example], plan: Plan, rng: torch.Generator
) -> list[Rollout]:
    new = sample_along(
        generator,
        golds,
        temperature=plan.temperature,
        max_after_slip=plan.max_after_slip,
        rng=rng,
    )
    return [rollout(gold, ids) for gold, ids in zip(golds, new, strict=True)]


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


if __name__ == "__main__":
    main()
