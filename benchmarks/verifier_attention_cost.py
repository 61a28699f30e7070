"""Attention of a verifier's batch, beside SGLang's extend kernel, on a GPU; no model needed.

    python -m benchmarks.verifier_attention_cost --out benchmarks/reports/verifier_attention.md

Rows are steps behind their prefixes, of random lengths. Both kernels read the same KV in turn, and
are compared with attention in float32. Times are of a layer within a CUDA graph of several.
"""

import argparse
import random
from itertools import accumulate
from pathlib import Path
from typing import Any

from .attention_cost import DIM, SHAPES, SLOTS, in_turn, layers, off, write
from .measures import spread

_LONGEST = 256  # new tokens of a row that SGLang's kernel is told


def measure(shape: str, rows: int, prefix: int, new: int) -> dict[str, Any]:
    """Microseconds per layer of each kernel, and how far its result is from float32's."""
    import torch
    from sglang.kernels.ops.attention.extend_attention import extend_attention_fwd

    from fasttts_sglang.runtime.verifier_attention import extend_attention

    heads, kv_heads = SHAPES[shape]
    draw = random.Random(rows)
    torch.manual_seed(rows)
    news = [max(1, int(new * draw.uniform(0.1, 2))) for _ in range(rows)]
    paths = [draw.sample(range(SLOTS), int(prefix * draw.uniform(0.5, 1.5))) for _ in range(rows)]

    def indptr(sizes: list[int]) -> Any:
        return torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device="cuda")

    starts, path_starts = indptr(news), indptr([len(path) for path in paths])
    indices = torch.tensor([slot for path in paths for slot in path], device="cuda")
    tokens = sum(news)
    queries = torch.randn(tokens, heads, DIM, dtype=torch.bfloat16, device="cuda")
    new_kv = torch.randn(2, tokens, kv_heads, DIM, dtype=torch.bfloat16, device="cuda")
    kv = layers(kv_heads)
    result, scale = torch.empty_like(queries), DIM**-0.5

    def stock() -> None:
        for keys, values in kv:
            head = queries, *new_kv, result, keys, values, starts, path_starts, indices
            extend_attention_fwd(*head, None, True, None, _LONGEST, 1.0, 1.0, scale)

    def ours() -> None:
        for keys, values in kv:
            head = queries, *new_kv, result, keys, values, starts, path_starts, indices
            extend_attention(*head, scale)

    results, micro = in_turn({"SGLang": stock, "ours": ours}, result)
    exact = torch.empty_like(results["ours"])
    for row, path in enumerate(paths):
        mine = slice(int(starts[row]), int(starts[row + 1]))
        keys, values = (
            torch.cat([cached[path], some[mine]]).float().repeat_interleave(heads // kv_heads, 1)
            for cached, some in zip(kv[-1], new_kv, strict=True)
        )
        logits = torch.einsum("qhd,thd->hqt", queries[mine].float(), keys) * scale
        later = torch.ones_like(logits[0], dtype=torch.bool).triu(len(path) + 1)
        weights = logits.masked_fill(later, float("-inf")).softmax(-1)
        exact[mine] = torch.einsum("hqt,thd->qhd", weights, values)
    return {"us": micro, "errors": off(results, exact), "tokens": tokens}


def main() -> None:
    """Measure, print a table and one JSON line."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rows", type=int, nargs="+", default=[5, 22, 44])
    parser.add_argument("--prefix", type=int, default=550, help="cached tokens, on average")
    parser.add_argument("--new", type=int, default=42, help="new tokens, on average")
    parser.add_argument("--out", type=Path, help="write the report here")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("needs a GPU")
    table = ["| shape | rows | new tokens | SGLang, µs | ours, µs |", "|---|---|---|---|---|"]
    figures = []
    for shape in args.shapes:
        for rows in args.rows:
            found = measure(shape, rows, args.prefix, args.new)
            figures.append({"shape": shape, "rows": rows, **found})
            cells = " | ".join(spread(found["us"][name]) for name in ("SGLang", "ours"))
            table.append(f"| {shape} | {rows} | {found['tokens']} | {cells} |")
    write(args.out, "Verifier's attention", table, figures)


if __name__ == "__main__":
    main()
