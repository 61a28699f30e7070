"""What the planner predicts for a setting of the benchmarks."""

from fasttts_sglang.config import KV_FRACTIONS
from fasttts_sglang.memory.machines import Machine
from fasttts_sglang.memory.planner import Planner
from fasttts_sglang.memory.shapes import ModelShape
from fasttts_sglang.memory.workload import Workload
from fasttts_sglang.search.replay import ReplaySpec

from .budget import GIB
from .setting import BRANCH, Setting
from .shapes import GENERATOR, SHAPES, VERIFIER


def models(setting: Setting) -> tuple[ModelShape, ModelShape]:
    """The shapes of generator and verifier."""
    generator, verifier = (
        ModelShape.from_config({**SHAPES[name], "architectures": [architecture]}, name)
        for name, architecture in ((setting.generator, GENERATOR), (setting.verifier, VERIFIER))
    )
    return generator, verifier


def workload(setting: Setting, n: int) -> Workload:
    """The replayed search of `n` beams."""
    spec = ReplaySpec.from_json(setting.spec)
    path = spec.mean_tokens * (spec.min_steps + spec.max_steps) / 2
    return Workload(
        n=n,
        branch=BRANCH,
        prompt_tokens=setting.prompt_tokens,
        step_tokens=spec.mean_tokens,
        step_sigma=min(2.0, spec.sigma),
        path_tokens=max(1, round(path)),
    )


def planned_share(setting: Setting, n: int, machine: Machine, budget_bytes: int = 0) -> float:
    """The verifier's part of the KV budget that the planner chooses, as the flag takes it.

    Args:
        budget_bytes: If it is not the setting's.

    >>> from fasttts_sglang.memory.machines import MACHINES
    >>> from .setting import shaped
    >>> setting = shaped("7b", "1.5b", [256], "{}", 4.54, gpu=True)
    >>> planned_share(setting, 256, MACHINES["h200"])  # all fits: in proportion
    0.333
    >>> planned_share(setting, 256, MACHINES["h200"], GIB) < 0.15
    True
    """
    budget = budget_bytes or int((setting.kv_gib or 0) * GIB)
    best = Planner(*models(setting), machine, workload(setting, n)).best(budget)
    low, high = KV_FRACTIONS
    return min(high, max(low, round(best.verifier_fraction, 3)))
