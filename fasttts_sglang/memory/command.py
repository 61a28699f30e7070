"""`fasttts plan`: how the KV memory of one GPU is best split, without loading anything."""

import json
from dataclasses import asdict
from pathlib import Path

from ..errors import ConfigError, InsufficientMemory
from .machines import Machine
from .offload import HostOffload, predict_offload
from .planner import MIB, Plan, Planner
from .shapes import ModelShape
from .sizes import parse_bytes, shown
from .workload import Workload

_ROWS = 9  # of the printed curve


def plan(
    model: str,
    verifier: str,
    *,
    gpu_memory: str,
    mem_fraction_static: float,
    machine: str,
    workload: Workload,
    as_json: bool,
    plot: Path | None,
) -> int:
    """Print the split of the memory that both models' weights leave.

    Args:
        model, verifier: Folders with a config.json, or names of SHAPES.
        gpu_memory: Of the whole GPU, as `parse_bytes` reads it.
        mem_fraction_static: Part of it for weights and KV, as SGLang's flag of that name.
        machine: One of MACHINES, or a JSON file.
        plot: Where to write the curve as a PNG.

    Raises:
        ConfigError: An argument is wrong.
        InsufficientMemory: Weights and one path of each model do not fit.
    """
    if not 0.05 <= mem_fraction_static <= 1:
        raise ConfigError(f"--mem-fraction-static: must be in [0.05, 1], got {mem_fraction_static}")
    if plot is not None and not plot.parent.is_dir():
        raise ConfigError(f"--plot: {str(plot.parent)!r} is no directory")
    generator, reward = ModelShape.named(model), ModelShape.named(verifier, verifier=True)
    memory = parse_bytes(gpu_memory, "--gpu-memory")
    budget = int(memory * mem_fraction_static) - generator.weight_bytes - reward.weight_bytes
    planner = Planner(generator, reward, Machine.named(machine), workload)
    try:
        best = planner.best(budget)
    except InsufficientMemory as exc:
        raise InsufficientMemory(
            f"--gpu-memory {gpu_memory}: of {shown(memory * mem_fraction_static)}"
            f" (--mem-fraction-static {mem_fraction_static}) the weights take"
            f" {shown(generator.weight_bytes)} and {shown(reward.weight_bytes)}; {exc}",
            missing=exc.missing,
        ) from exc
    curve = planner.curve(budget)
    offload = predict_offload(best, generator, reward)
    if as_json:
        shapes = {"generator": generator.name, "verifier": reward.name}
        columns = ("verifier_fraction", "generator_s", "verifier_s", "round_s")
        points = [dict(zip(columns, point, strict=True)) for point in curve]
        host = {**asdict(offload), "saved_s": offload.saved_s}
        print(json.dumps({"models": shapes, **best.to_dict(), "offload": host, "curve": points}))
    else:
        _print(best, curve, generator, reward)
        _print_offload(offload)
    if plot is not None:
        _draw(best, curve, plot)
    return 0


def _print(
    best: Plan, curve: list[tuple[float, ...]], generator: ModelShape, reward: ModelShape
) -> None:
    work = best.workload
    print(
        f"{best.budget_bytes / MIB:,.0f} MiB of KV for n={work.n}, branch={work.branch},"
        f" {work.rounds} rounds of {work.step_tokens:g} tokens on {best.machine.name}:"
        f" --fasttts-kv-split {best.verifier_fraction:.3f}\n"
    )
    print(
        f"{'':10}{'weights':>11}{'KV':>11}{'KV tokens':>12}{'needed':>10}{'s/round':>9}{'again':>8}"
    )
    for label, model, share in (
        ("generator", generator, best.generator),
        ("verifier", reward, best.verifier),
    ):
        print(
            f"{label:10}{shown(model.weight_bytes):>11}{shown(share.kv_bytes):>11}"
            f"{share.kv_tokens:>12,}{share.needed_tokens:>10,}{share.round_s:>9.3f}"
            f"{share.recomputed_tokens:>8,.0f}"
        )
    print(
        f"\n{best.round_s:.3f} s per round, {best.round_s * work.rounds:.2f} s per search;"
        f" {best.rows_at_once} of {work.n} rows decode at once;"
        f" {1 - best.machine.verifier_waits:.0%} of the verifier's time runs beside.\n"
        "needed: tokens that would hold everything; again: tokens per round computed again.\n"
    )
    print(f"{'verifier':>10}{'s/round':>10}{'generator':>11}{'verifier':>10}")
    last = len(curve) - 1
    for i in range(_ROWS):
        fraction, generator_s, verifier_s, total = curve[i * last // (_ROWS - 1)]
        print(f"{fraction:>10.3f}{total:>10.3f}{generator_s:>11.3f}{verifier_s:>10.3f}")


def _print_offload(offload: HostOffload) -> None:
    print(f"\n{'evicted':10}{'again':>8}{'computed s':>12}{'copied s':>10}{'host':>11}")
    for label, refill in (("generator", offload.generator), ("verifier", offload.verifier)):
        print(
            f"{label:10}{refill.again_tokens:>8,.0f}{refill.again_s:>12.3f}{refill.copy_s:>10.3f}"
            f"{shown(refill.host_bytes):>11}"
        )
    parts = (offload.generator, offload.verifier)
    names = [name for name, part in zip(("generator", "verifier"), parts, strict=True) if part.wins]
    saves = f"{offload.saved_s:.3f} s saved per round"
    if not any(part.again_tokens for part in parts):
        saves = "nothing to save here, where all fits"
    print(
        f"--fasttts-host-offload auto: {' and '.join(names) or 'off, copying takes longer'};"
        f" {saves}.\n"
        "copied: to the host and back, instead of computed again; host: memory for what is missing."
    )


def _draw(best: Plan, curve: list[tuple[float, ...]], path: Path) -> None:
    try:
        import matplotlib
    except ImportError as exc:
        raise ConfigError("--plot: needs matplotlib, the extra `bench`") from exc
    matplotlib.use("agg")
    from matplotlib import pyplot

    fractions, generator_s, verifier_s, total = zip(*curve, strict=True)
    figure, panel = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    panel.plot(fractions, generator_s, label="generator", color="#4477aa")
    panel.plot(fractions, verifier_s, label="verifier", color="#ee6677")
    panel.plot(fractions, total, label="both", color="#222222")
    panel.plot([best.verifier_fraction], [best.round_s], "o", color="#228833", label="plan")
    panel.set(
        xlabel="the verifier's fraction of the KV memory",
        ylabel="predicted seconds per round",
        title=f"n={best.workload.n}, {best.machine.name}",
        ylim=(0, None),
    )
    panel.legend()
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as exc:
        raise ConfigError(f"--plot: {path}: {exc.strerror}") from exc
    finally:
        pyplot.close(figure)
