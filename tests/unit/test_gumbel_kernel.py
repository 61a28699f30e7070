"""The fused sampler against the one in torch operators, run by Triton's interpreter on a CPU."""

from .interpreted import interpreted

PROGRAM = """
import torch
from fasttts_sglang.runtime import gumbel, seeded_sampling

for columns in (97, 1024, 9000):  # less than a block, one block, more than one program
    generator = torch.Generator().manual_seed(columns)
    probs = torch.rand(24, columns, generator=generator)
    probs[torch.rand(24, columns, generator=generator) < 0.3] = 0.0  # excluded by a filter
    seeds = torch.randint(0, 2**62, (24,), generator=generator)
    positions = torch.randint(0, 4096, (24,), generator=generator)
    fused = gumbel.gumbel_argmax(probs, seeds, positions)
    plain = seeded_sampling.gumbel_argmax(probs, seeds, positions)
    assert fused.tolist() == plain.tolist(), columns
    logits = torch.randn(24, columns, generator=generator) * 5
    temperatures = torch.rand(24, 1, generator=generator) + 0.5
    fused = gumbel.gumbel_argmax(logits, seeds, positions, temperatures)
    plain = seeded_sampling.gumbel_argmax((logits / temperatures).softmax(-1), seeds, positions)
    assert fused.tolist() == plain.tolist(), columns
    print("equal", columns)
"""


def test_the_kernel_draws_what_the_torch_version_draws() -> None:
    done = interpreted(PROGRAM)
    assert done.stdout.split() == ["equal", "97", "equal", "1024", "equal", "9000"], done.stderr
