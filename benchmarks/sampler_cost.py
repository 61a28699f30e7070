"""What seeded sampling costs beside SGLang's default sampler, on a GPU. Seconds; no model needed.

    python -m benchmarks.sampler_cost --rows 64 --step-ms 2.2

Both start from the logits of one decode step. SGLang's default draws from one stream of random
numbers; ours gives every row the noise of its own seed and position. `--step-ms` is a decode step
at so many rows, of which the difference is a part (1.5B, 64 rows on an H200: 2.2 ms).
"""

import argparse
import json
import statistics
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from .environment import describe
from .measures import spread

_REPEATS = 50
_ROUNDS = 7


def milliseconds(draw: Callable[[Any], Any], logits: Any) -> float:
    """Of one call, by events on the device; every call gets logits of its own."""
    import torch

    copies = [logits.clone() for _ in range(_REPEATS)]
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for copy in copies:
        draw(copy)
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / _REPEATS


def samplers(rows: int, top_p: float) -> dict[str, Callable[[Any], Any]]:
    """SGLang's default and ours, from logits to token ids."""
    import torch
    from sglang.srt.layers import sampler as stock

    from fasttts_sglang.runtime import seeded_sampling

    device = torch.device("cuda")
    temperatures = torch.full((rows, 1), 0.8, device=device)
    info = SimpleNamespace(
        temperatures=temperatures,
        top_ps=torch.full((rows,), top_p, device=device),
        top_ks=torch.full((rows,), 1 << 30, dtype=torch.int32, device=device),
        sampling_seed=torch.arange(rows, device=device) * 7919,
        need_top_p_sampling=top_p < 1,
        need_top_k_sampling=False,
        need_min_p_sampling=False,
    )
    positions = torch.arange(rows, device=device) + 300

    def probabilities(logits: Any) -> Any:
        logits.div_(temperatures)
        logits[:] = torch.softmax(logits, dim=-1)
        return logits

    def default(logits: Any) -> Any:
        probs = probabilities(logits)
        if top_p == 1:
            return stock.sampling_from_probs_torch(probs)
        return stock.top_k_top_p_sampling_from_probs(
            probs, info.top_ks, info.top_ps, filter_apply_order="joint"
        )

    def ours(logits: Any) -> Any:
        return seeded_sampling.draw(logits, info, positions)

    return {"SGLang": default, "ours": ours}


def main() -> None:
    """Measure in turn, print one JSON line and a table."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--step-ms", type=float, default=2.2)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("needs a GPU")
    lines = [
        "| rows | sampling | SGLang, µs | ours, µs | more, % of a decode step |",
        "|---|---|---|---|---|",
    ]
    figures = []
    for rows in args.rows:
        logits = torch.randn(rows, args.vocabulary, device="cuda") * 3
        for name, top_p in (("temperature", 1.0), ("temperature, top-p 0.95", 0.95)):
            draws = samplers(rows, top_p)
            found: dict[str, list[float]] = {who: [] for who in draws}
            for turn in range(_ROUNDS + 1):
                for who, draw in draws.items():
                    took = milliseconds(draw, logits)
                    if turn:  # the first compiles
                        found[who].append(took)
            more = statistics.median(found["ours"]) - statistics.median(found["SGLang"])
            micro = {who: spread([1e3 * ms for ms in times]) for who, times in found.items()}
            share = 100 * more / args.step_ms
            lines.append(f"| {rows} | {name} | {micro['SGLang']} | {micro['ours']} | {share:.2g} |")
            figures.append({"rows": rows, "sampling": name, "ms": found})
    print(json.dumps({"environment": describe(), "step_ms": args.step_ms, "figures": figures}))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
