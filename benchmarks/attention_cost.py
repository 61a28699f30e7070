"""Decode attention of rows that share prefixes, beside SGLang's kernel, on a GPU; no model needed.

    python -m benchmarks.attention_cost --out benchmarks/reports/attention_h200.md

Rows are siblings, as in a search: some share a prefix, each has a step of its own behind it. Three
kernels read the same KV in turn: SGLang's, ours with the prefixes read together, and ours for rows
that share nothing, which must give SGLang's result bit for bit. The others are compared with
attention in float32. Times are of a layer within a CUDA graph of several, each with its own KV.
"""

import argparse
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fasttts_sglang.scheduling.prefix_groups import MOST_PARTS, MOST_WORK, WIDTH, End, group

from .environment import describe
from .measures import spread

SHAPES = {"1.5b": (12, 2), "7b": (28, 4)}  # heads and KV heads
DIM, LAYERS, SLOTS, MAX_SPLITS = 128, 14, 200_000, 8
_ROUNDS = 15
_TOLERANCE = 1e-2  # of bfloat16 results, relative


def paths(rows: int, siblings: int, prefix: int, own: int) -> tuple[list[End], Any]:
    """Where each row's prefix ends, and the slots of its path; rows in random order."""
    draw = random.Random(rows)
    free = list(range(1, SLOTS))
    draw.shuffle(free)
    ends, found = [], []
    while len(found) < rows:
        shared = [free.pop() for _ in range(int(prefix * draw.uniform(0.5, 1.5)))]
        for _ in range(min(siblings, rows - len(found))):
            step = [free.pop() for _ in range(max(1, int(own * draw.uniform(0.1, 2))))]
            ends.append(End(shared[0], len(shared), len(shared)))
            found.append(shared + step)
    order = draw.sample(range(rows), rows)
    return [ends[i] for i in order], [found[i] for i in order]


def measure(shape: str, rows: int, siblings: int, prefix: int, own: int) -> dict[str, Any]:
    """Microseconds per layer of each kernel, and how far its result is from float32's."""
    import torch
    import triton
    from sglang.kernels.ops.attention.decode_attention import decode_attention_fwd
    from sglang.kernels.ops.attention.metadata import get_num_kv_splits_triton

    from fasttts_sglang.runtime.shared_attention_kernel import decode_attention, rows_per_tile

    heads, kv_heads = SHAPES[shape]
    torch.manual_seed(rows)
    ends, slots = paths(rows, siblings, prefix, own)
    lengths = torch.tensor([len(path) for path in slots], dtype=torch.int32, device="cuda")
    indptr = torch.zeros(rows + 1, dtype=torch.int32, device="cuda")
    indptr[1:] = lengths.cumsum(0)
    indices = torch.tensor([slot for path in slots for slot in path], device="cuda")
    queries = torch.randn(rows, heads, DIM, dtype=torch.bfloat16, device="cuda")
    kv = layers(kv_heads)
    splits = torch.ones(rows, dtype=torch.int32, device="cuda")
    cores = torch.cuda.get_device_properties().multi_processor_count
    block = max(256, triton.next_power_of_2(rows))
    get_num_kv_splits_triton[(1,)](
        splits, lengths, rows, 1, heads, kv_heads, MAX_SPLITS, cores, MAX_NUM_SEQ=block
    )
    lines = torch.zeros(rows, WIDTH, dtype=torch.int32)
    work = torch.zeros(1 + MOST_WORK, dtype=torch.int32)
    alone = lines.cuda(), work.cuda()
    groups = group(ends, lambda *_: (None, 0), rows_per_tile(heads // kv_heads), kv_heads)
    if groups is not None:
        groups.put(work.numpy(), lines.numpy())
    result = torch.empty_like(queries)
    parts = torch.empty(rows, heads, MAX_SPLITS + MOST_PARTS, DIM, device="cuda")
    sums = torch.empty(rows, heads, MAX_SPLITS + MOST_PARTS, device="cuda")
    stock_parts = torch.empty(rows, heads, MAX_SPLITS, DIM, device="cuda")
    stock_sums = torch.empty(rows, heads, MAX_SPLITS, device="cuda")
    scale, pdl = DIM**-0.5, torch.cuda.get_device_capability()[0] >= 9

    def stock() -> None:
        for keys, values in kv:
            scratch = stock_parts, stock_sums, splits, MAX_SPLITS
            head = queries, keys, values, result, indptr, indices
            decode_attention_fwd(*head, *scratch, scale, 1.0, 1.0, use_pdl=pdl)

    def ours(tables: Any) -> Callable[[], None]:
        def run() -> None:
            for keys, values in kv:
                head = queries, keys, values, result, indptr, indices
                cut = splits, MAX_SPLITS, *tables
                decode_attention(*head, *cut, parts, sums, scale, pdl=pdl)

        return run

    kernels = {"SGLang": stock, "shared": ours((lines.cuda(), work.cuda())), "alone": ours(alone)}
    results, micro = in_turn(kernels, result)
    keys, values = (side.float().repeat_interleave(heads // kv_heads, 1) for side in kv[-1])
    exact = torch.stack(
        [
            torch.einsum(
                "ht,thd->hd",
                torch.einsum("hd,thd->ht", query, keys[path]).mul(scale).softmax(-1),
                values[path],
            )
            for query, path in zip(queries.float(), slots, strict=True)
        ]
    )
    errors = off(results, exact)
    assert torch.equal(results["alone"], results["SGLang"]), "ordinary rows come out otherwise"
    return {"us": micro, "errors": errors}


def layers(kv_heads: int) -> list[Any]:
    """Keys and values of each layer, random: [2, slots, KV heads, dim]."""
    import torch

    shape = 2, SLOTS, kv_heads, DIM
    return [torch.randn(shape, dtype=torch.bfloat16, device="cuda") for _ in range(LAYERS)]


def off(results: Mapping[str, Any], exact: Any) -> dict[str, float]:
    """How far each result is from the exact one, relative; raises where it is too far."""
    errors = {name: ((r - exact).norm() / exact.norm()).item() for name, r in results.items()}
    assert max(errors.values()) < _TOLERANCE, errors
    return errors


def in_turn(
    kernels: Mapping[str, Callable[[], None]], result: Any
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Run kernels for LAYERS layers each, as CUDA graphs, one after the other in every round.

    Args:
        result: What all of them write.

    Returns:
        What each wrote, in float32, and its microseconds per layer.
    """
    import torch

    results, graphs = {}, {}
    for name, run in kernels.items():
        result.fill_(float("nan"))
        run()
        torch.cuda.synchronize()
        results[name] = result.float().clone()
        graphs[name] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[name]):
            run()
    micro: dict[str, list[float]] = {name: [] for name in kernels}
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for turn in range(_ROUNDS + 1):
        for name, graph in graphs.items():
            begin.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            if turn:
                micro[name].append(1e3 * begin.elapsed_time(end) / LAYERS)
    return results, micro


def write(out: Path | None, title: str, table: list[str], figures: list[Any]) -> None:
    """Print the table behind one JSON line; write a report to `out`."""
    import torch

    record = json.dumps({"environment": describe(), "figures": figures})
    text = "\n".join(table)
    if out:
        command = f"    {describe()['command']}\n"
        out.write_text(
            f"# {title}: {torch.cuda.get_device_name()}\n\n{command}\n{text}\n\n"
            f"```json\n{record}\n```\n"
        )
    print(record)
    print(text)


def main() -> None:
    """Measure, print a table and one JSON line."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--siblings", type=int, default=4)
    parser.add_argument("--prefix", type=int, default=560, help="tokens, on average")
    parser.add_argument("--own", type=int, default=35, help="tokens behind it, on average")
    parser.add_argument("--out", type=Path, help="write the report here")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("needs a GPU")
    table = [
        "| shape | rows | SGLang, µs | prefixes read together, µs | nothing shared, µs |",
        "|---|---|---|---|---|",
    ]
    figures = []
    for shape in args.shapes:
        for rows in args.rows:
            found = measure(shape, rows, args.siblings, args.prefix, args.own)
            figures.append({"shape": shape, "rows": rows, **found})
            cells = " | ".join(spread(found["us"][name]) for name in ("SGLang", "shared", "alone"))
            table.append(f"| {shape} | {rows} | {cells} |")
            print(table[-1], flush=True)
    write(args.out, "Decode attention", table, figures)


if __name__ == "__main__":
    main()
