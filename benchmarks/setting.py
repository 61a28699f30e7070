"""What a comparison runs on: models, workload, memory. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .budget import split

BRANCH = 4
AMPLE_TOKENS = 300_000
"""KV of each model where memory is ample: the whole tree of a search with n=256 is 180,000 tokens.

Two pairs of 1.5B models with it take about 55 GiB of a card; a pair with a 7B model needs
`--kv-gib`, or a card with more than 80 GiB, for both systems to stand side by side."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One comparison: models, workload and engine arguments."""

    generator: str  # a shape, or "tiny" for the bundled pair
    verifier: str
    spec: str  # a ReplaySpec as JSON
    prompt_tokens: int
    peak_rows: int  # a decode batch at which the machine is about as fast as it can be
    stock_args: Mapping[str, Any] = field(default_factory=dict)
    our_args: Mapping[str, Any] = field(default_factory=dict)
    kv_gib: float | None = None  # of both models together; None: ample

    @property
    def name(self) -> str:
        """Models, and memory if it is limited."""
        memory = "" if self.kv_gib is None else f", {self.kv_gib:.3g} GiB of KV"
        return f"{self.generator}+{self.verifier}{memory}"

    def stock(self, share: float | None) -> dict[str, Any]:
        """Arguments of the baseline; `share` of a KV budget is the verifier's."""
        if self.kv_gib is None or share is None:
            return dict(self.stock_args)
        generator, verifier = split(self.generator, self.verifier, self.kv_gib, share)
        return {
            **self.stock_args,
            "generator_args": {"max_total_tokens": generator},
            "verifier_args": {"max_total_tokens": verifier},
        }

    def ours(self, share: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Engine arguments and FastTTSConfig fields of our engine, likewise."""
        if self.kv_gib is None or share is None:
            return dict(self.our_args), {"verifier_tokens": self.our_args["max_total_tokens"]}
        generator, _ = split(self.generator, self.verifier, self.kv_gib, share)
        return {**self.our_args, "max_total_tokens": generator}, {"kv_split": str(share)}


QUICK = Setting(
    generator="tiny",
    verifier="tiny",
    spec='{"mean_tokens": 16, "min_steps": 3, "max_steps": 5}',
    prompt_tokens=40,
    peak_rows=32,
    stock_args={"max_total_tokens": 40_000},
    our_args={"max_total_tokens": 40_000},
)


def of_pair(pair: str, rows: int, kv_gib: float | None = None, *, gpu: bool) -> Setting:
    """Of two shapes, or "tiny", whose memory is always ample; decode batches have so many rows."""
    return QUICK if pair == "tiny" else shaped(*pair.split("+"), [rows], "{}", kv_gib, gpu=gpu)


def shaped(
    generator: str,
    verifier: str,
    widths: Sequence[int],
    spec: str,
    kv_gib: float | None,
    *,
    gpu: bool,
) -> Setting:
    """Random weights at the shapes of real models.

    Args:
        widths: All n of the comparison; the largest decode batch that gets a CUDA graph.
        kv_gib: KV budget of both models; None: ample.
        gpu: Whether there is one; without, only the shape `toy` makes sense.
    """
    if not gpu:
        return replace(QUICK, generator=generator, verifier=verifier, spec=spec, kv_gib=kv_gib)
    args = {
        "attention_backend": "triton",
        "disable_prefill_cuda_graph": True,
        "cuda_graph_max_bs_decode": max(256, *widths),
        "max_total_tokens": AMPLE_TOKENS,
        "mem_fraction_static": 0.9,  # only an upper limit beside max_total_tokens
    }
    return Setting(generator, verifier, spec, 200, 256, args, args, kv_gib)
