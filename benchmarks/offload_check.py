"""Does KV come back from the host as it was, and how fast? About a minute; runs on a CPU, too.

    python -m benchmarks.offload_check             # copies, and searches of the tiny pair
    python -m benchmarks.offload_check --copies    # copies alone; no model is needed

The first part copies KV of Qwen2.5-7B's shape between a pool and the host, at slots drawn at
random, compares every bit, and times each way. The second runs the same searches in a KV memory in
which they do not fit, without and with --fasttts-host-offload, and in ample memory, on a GPU in
deterministic mode, and compares results and what was computed again.

Prints a line per check and one JSON line. Exits with 1 if a check failed.
"""

import argparse
import json
import sys
import time
from array import array
from typing import Any

from .environment import describe
from .resize_check import Checks

LAYERS, HEADS, DIM = 28, 4, 128  # of Qwen2.5-7B's KV
REPLAY = '{"mean_tokens": 20, "sigma": 0.5, "min_steps": 8, "max_steps": 12}'
_AMPLE = 30_000  # KV tokens, more than all searches need
AGAIN = (
    "recomputed_tokens",
    "restored_tokens",
    "verifier_recomputed_tokens",
    "verifier_restored_tokens",
)


def check_copies(checks: Checks, tokens: int, repeats: int) -> None:
    """There and back, bit for bit, with the milliseconds of each way."""
    import torch

    from fasttts_sglang.runtime.host_memory import HostMemory

    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = 4 * tokens, HEADS, DIM
    buffers = [torch.randn(shape, dtype=torch.bfloat16, device=device) for _ in range(2 * LAYERS)]
    memory = HostMemory(buffers, tokens)
    order = torch.randperm(4 * tokens, device=device)
    source, target = order[:tokens], order[tokens : 2 * tokens]
    rows = array("q", range(tokens))

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def allocate() -> str:
        began = time.perf_counter()
        while memory.grow():
            pass
        checks.figures["allocate_s"] = seconds = time.perf_counter() - began
        return f"{memory.allocated_bytes / 2**20:.0f} MiB in {seconds * 1e3:.0f} ms"

    def timed(name: str, copy: Any) -> str:
        copy()
        wait()
        began = time.perf_counter()
        for _ in range(repeats):
            copy()
        launched = time.perf_counter() - began
        wait()
        seconds = (time.perf_counter() - began) / repeats
        per_thousand = seconds / tokens * 1e6
        checks.figures[f"{name}_ms_per_1000_tokens"] = per_thousand
        checks.figures[f"{name}_launch_ms"] = launched / repeats * 1e3
        speed = memory.row_bytes * tokens / seconds / 1e9
        return (
            f"{per_thousand:.2f} ms per 1,000 tokens of {memory.row_bytes} bytes, {speed:.1f} GB/s"
        )

    def same() -> None:
        for buffer in buffers:
            assert torch.equal(buffer[source], buffer[target])

    for name, check in (
        ("take host memory", allocate),
        ("to the host", lambda: timed("save", lambda: memory.save(source, rows))),
        ("and back", lambda: timed("load", lambda: memory.load(rows, target))),
        ("bit for bit", same),
    ):
        if not checks.run(name, check):
            return


def check_engine(checks: Checks, kv_tokens: int, widths: list[int], limit: str) -> None:
    """The same searches in ample memory, and in too little without and with the host's."""
    import torch

    from fasttts_sglang import FastTTSConfig, FastTTSEngine, SearchParams

    prompt = [5 + i * 7 % 90 for i in range(100)]
    options: dict[str, Any] = {"max_running_requests": max(widths)}
    if torch.cuda.is_available():
        options |= {
            "enable_deterministic_inference": True,
            "attention_backend": "triton",  # others are not built for every card
            "disable_prefill_cuda_graph": True,
        }
    runs: dict[str, list[Any]] = {}

    def run(name: str, offload: str = "off", tokens: int = kv_tokens) -> str:
        config = FastTTSConfig(replay=REPLAY, verifier_tokens=tokens, host_offload=offload)
        runs[name] = []
        figures = checks.figures[f"engine_{name}"] = []
        with FastTTSEngine(config=config, max_total_tokens=tokens, **options) as engine:
            for n in widths:
                engine.flush_cache()
                params = SearchParams(n=n, seed=n, temperature=1.0, stop=(), max_tokens=400)
                began = time.perf_counter()
                result = engine.wait(engine.async_search(prompt, params))
                found = [[c.path, [s.token_ids for s in c.steps]] for c in result.candidates]
                runs[name].append((found, result.usage))
                counts = {name: getattr(result.usage, name) for name in AGAIN}
                figures.append({"n": n, "seconds": time.perf_counter() - began, **counts})
            time.sleep(2)  # SGLang checks its pools when it is idle, and dies if something leaked
            memory = engine.wait(engine._client.memory())
            assert memory is not None, "the scheduler does not answer"
            held = {name: part["allocated_bytes"] for name, part in memory["host"].items()}
            assert not any(held.values()), f"host memory was not given back: {held}"
            assert offload == "off" or set(held) == {"generator", "verifier"}, memory["host"]
        return "; ".join(
            f"n={f['n']}: {f['seconds']:.1f} s, computed again"
            f" {f['recomputed_tokens']} + {f['verifier_recomputed_tokens']} tokens, copied back"
            f" {f['restored_tokens']} + {f['verifier_restored_tokens']}"
            for f in figures
        )

    def same() -> None:
        found = {name: [result for result, _ in some] for name, some in runs.items()}
        wrong = [
            f"n={n} {name}"
            for name in ("without", "with")
            for n, one, ample in zip(widths, found[name], found["ample"], strict=True)
            if one != ample
        ]
        assert not wrong, f"not as in ample memory: {', '.join(wrong)}"

    def fewer() -> str:
        sums = {}
        for name, some in runs.items():
            usages = [usage for _, usage in some]
            again = sum(u.recomputed_tokens + (u.verifier_recomputed_tokens or 0) for u in usages)
            sums[name] = again
        assert sums["ample"] == 0, sums
        assert sums["without"] > 0, "everything fits: nothing was tested; lower --kv-tokens"
        assert sums["with"] < sums["without"] / 5, sums
        return f"{sums['without']} tokens without, {sums['with']} with"

    for name, check in (
        ("searches in ample memory", lambda: run("ample", tokens=_AMPLE)),
        ("searches without", lambda: run("without")),
        ("searches with", lambda: run("with", limit)),
        ("the same results", same),
        ("less is computed again", fewer),
    ):
        if not checks.run(name, check):
            return


def main() -> None:
    """Run the checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", action="store_true", help="copies alone")
    parser.add_argument("--tokens", type=int, help="tokens copied at a time")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kv-tokens", type=int, default=1000, help="of each model's KV memory")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--limit", default="256MiB", help="of host memory")
    args = parser.parse_args()
    checks = Checks()
    import torch

    from fasttts_sglang.runtime import cpu

    cpu.prepare()  # before anything of SGLang is imported
    tokens = args.tokens or (4096 if torch.cuda.is_available() else 512)
    check_copies(checks, tokens, args.repeats)
    if not args.copies:
        check_engine(checks, args.kv_tokens, args.widths, args.limit)
    print(json.dumps({"environment": describe(), "failed": checks.failed, **checks.figures}))
    sys.exit(bool(checks.failed))


if __name__ == "__main__":
    main()
