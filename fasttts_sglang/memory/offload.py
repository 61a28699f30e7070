"""Whether KV that was evicted is sooner copied back from the host than computed again."""

from dataclasses import dataclass

from .machines import Machine
from .planner import Plan, Share
from .roofline import PREFILL_RATE, PREFILL_TOKENS
from .shapes import ModelShape


@dataclass(frozen=True, slots=True)
class Refill:
    """What one model does about KV that does not fit.

    Args:
        again_tokens: Predicted tokens per round whose KV was evicted and is needed again.
        again_s: Seconds per round of computing them.
        copy_s: Seconds per round of copying them to the host and back instead.
        host_bytes: Host memory for all that does not fit.
        wins: Whether a token is sooner copied than computed, whatever their number.
    """

    again_tokens: float
    again_s: float
    copy_s: float
    host_bytes: int
    wins: bool


@dataclass(frozen=True, slots=True)
class HostOffload:
    """The prediction for both models."""

    generator: Refill
    verifier: Refill

    @property
    def saved_s(self) -> float:
        """Seconds per round that offload is predicted to save, where it wins."""
        parts = (self.generator, self.verifier)
        return sum(part.again_s - part.copy_s for part in parts if part.wins)


def predict_offload(plan: Plan, generator: ModelShape, verifier: ModelShape) -> HostOffload:
    """Compare copying with computing for a planned split.

    Every evicted token is taken to be copied away and back, which is more than is done: what was
    copied once stays on the host as long as it is live.
    """
    context = plan.workload.prompt_tokens + plan.workload.path_tokens / 2
    return HostOffload(
        _refill(plan.generator, generator, plan.machine, context),
        _refill(plan.verifier, verifier, plan.machine, context),
    )


def _refill(share: Share, model: ModelShape, machine: Machine, context: float) -> Refill:
    tokens = share.recomputed_tokens
    compute_s, copy_s = compute_seconds(model, machine, context), 2 * copy_seconds(model, machine)
    missing = max(0, share.needed_tokens - share.kv_tokens)
    return Refill(
        again_tokens=tokens,
        again_s=tokens * compute_s,
        copy_s=tokens * copy_s,
        host_bytes=missing * model.kv_bytes,
        wins=copy_s < compute_s,
    )


def copy_seconds(model: ModelShape, machine: Machine) -> float:
    """Seconds per token of copying its KV one way."""
    return model.kv_bytes / machine.host_bandwidth


def compute_seconds(model: ModelShape, machine: Machine, context: float) -> float:
    """Seconds per token of computing its KV, in whole prefill forwards.

    Args:
        context: Tokens before it.
    """
    flops = model.flops + model.attention_flops * context / 2
    reading = model.read_bytes / PREFILL_TOKENS
    return machine.prefill_s / PREFILL_TOKENS + max(
        reading / machine.bandwidth, flops / (machine.rate * PREFILL_RATE)
    )
