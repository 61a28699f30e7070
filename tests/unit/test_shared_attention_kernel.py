"""The kernel against attention in torch operators, run by Triton's interpreter on a CPU."""

from .interpreted import interpreted

PROGRAM = """
import random
import torch
from fasttts_sglang.runtime.shared_attention_kernel import decode_attention, rows_per_tile
from fasttts_sglang.scheduling.prefix_groups import MOST_PARTS, MOST_WORK, WIDTH, End, group

for trial, (heads, kv_heads) in enumerate(((6, 1), (4, 2), (7, 1))):
    draw = random.Random(trial)
    torch.manual_seed(trial)
    dim, own_parts, slots = 16, 4, 3000
    keys, values = torch.randn(2, slots, kv_heads, dim)
    free = torch.randperm(slots).tolist()
    ends, paths = [], []
    for number, siblings in enumerate((4, 1, 3, 9)):
        prefix = [free.pop() for _ in range(draw.choice((5, 40, 170, 530)))]
        for _ in range(siblings):
            ends.append(End(number, len(prefix), len(prefix) - draw.randrange(2)))
            paths.append(prefix + [free.pop() for _ in range(draw.randrange(1, 75))])
    order = draw.sample(range(len(ends)), len(ends))
    ends, paths = [ends[i] for i in order], [paths[i] for i in order]
    rows = len(paths)
    lines = torch.zeros(rows, WIDTH, dtype=torch.int32)
    work = torch.zeros(1 + MOST_WORK, dtype=torch.int32)
    tables = [(lines.clone(), work.clone())]
    most = rows_per_tile(heads // kv_heads)
    if (groups := group(ends, lambda *_: (None, 0), most, kv_heads)) is not None:
        groups.put(work.numpy(), lines.numpy())
        tables.append((lines, work))
    lengths = torch.tensor([0] + [len(path) for path in paths])
    indptr = lengths.cumsum(0).to(torch.int32)
    indices = torch.tensor([slot for path in paths for slot in path])
    queries = torch.randn(rows, heads, dim)
    splits = torch.tensor([draw.randrange(1, own_parts + 1) for _ in range(rows)])
    for used in tables:
        result = torch.full_like(queries, float("nan"))
        parts = torch.full((rows, heads, own_parts + MOST_PARTS, dim), float("nan"))
        decode_attention(
            queries, keys, values, result, indptr, indices, splits.to(torch.int32), own_parts,
            *used, parts, parts[..., 0].clone(), dim**-0.5,
        )
        for row, path in enumerate(paths):
            key = keys[path].repeat_interleave(heads // kv_heads, 1)
            value = values[path].repeat_interleave(heads // kv_heads, 1)
            weights = torch.einsum("hd,thd->ht", queries[row], key).mul(dim**-0.5).softmax(-1)
            wanted = torch.einsum("ht,thd->hd", weights, value)
            torch.testing.assert_close(result[row], wanted, rtol=1e-4, atol=1e-5)
    print("equal", len(tables))
"""


def test_rows_that_share_a_prefix_attend_as_each_would_alone() -> None:
    done = interpreted(PROGRAM)
    assert done.stdout.split("\n")[:3] == ["equal 2"] * 3, done.stderr
