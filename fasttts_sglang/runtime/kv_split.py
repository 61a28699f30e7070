"""How much KV memory each model gets at start: planned, a fraction, or a number of tokens."""

import logging
from dataclasses import dataclass, replace
from typing import Any

from sglang.srt.distributed import get_world_group
from sglang.srt.utils import broadcast_pyobj, get_available_gpu_memory

from ..config import FastTTSConfig, flag_name
from ..errors import ConfigError, InsufficientMemory
from ..memory.machines import Machine
from ..memory.offload import HostOffload, predict_offload
from ..memory.planner import Plan, Planner, refuse
from ..memory.shapes import ModelShape
from ..memory.workload import Workload
from ..search.params import SearchParams
from ..search.replay import ReplaySpec
from . import calibration

logger = logging.getLogger(__name__)

UNPLANNED = 0.3  # the verifier's fraction where `auto` meets a model that cannot be planned for
_WIDTH = 64  # beams of the search that is planned for, unless there is a default search
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class KVSplit:
    """What the verifier gets; the generator takes the rest.

    Args:
        verifier_tokens: KV capacity.
        plan: What is predicted; None if the tokens were given, or the models cannot be planned for.
        shapes: What generator and verifier cost; None where there is no plan.
        offload: What is predicted of copies to the host; None where there is no plan.
    """

    verifier_tokens: int
    plan: Plan | None = None
    shapes: tuple[ModelShape, ModelShape] | None = None
    offload: HostOffload | None = None


def kv_split(scheduler: Any, verifier: Any, config: FastTTSConfig) -> KVSplit:
    """Split the KV memory that both models' weights leave; the same on all ranks.

    Args:
        scheduler: SGLang's, with its generator loaded.
        verifier: The VerifierWorker, loaded.

    Raises:
        InsufficientMemory: Not even one path of each model fits.
    """
    sizes = _kv_bytes(scheduler, verifier)
    contexts = (scheduler.model_config.context_len, verifier.model_config.context_len)
    work = default_workload(config, min(contexts))
    name = "kv_split" if config.verifier_tokens is None else "verifier_tokens"
    try:
        split = _split(scheduler, verifier, config, sizes, work)
        _check_room(scheduler, sizes, split.verifier_tokens, work.longest_tokens)
    except InsufficientMemory as exc:
        raise InsufficientMemory(
            f"{flag_name(name)} {getattr(config, name)}: {exc}; raise --mem-fraction-static or"
            " --max-total-tokens, or take smaller models",
            missing=exc.missing,
        ) from exc
    return split


def generator_bytes(scheduler: Any, verifier: Any) -> int:
    """KV memory that the generator will have at most."""
    tokens = scheduler.server_args.max_total_tokens
    if tokens is None:
        return _free_bytes(scheduler)
    return int(tokens * _kv_bytes(scheduler, verifier)[0])


def default_workload(config: FastTTSConfig, context: int) -> Workload:
    """The search that is planned for, before any has come.

    It is the default search, or one of 64 beams; replayed searches have the steps of their replay.

    Args:
        context: Longest sequence that both models read.
    """
    default = Workload()
    width, branch = min(_WIDTH, config.max_width), default.branch
    mean, sigma, path = default.step_tokens, default.step_sigma, default.path_tokens
    if config.replay:
        spec = ReplaySpec.from_json(config.replay)
        mean, sigma = spec.mean_tokens, min(2.0, spec.sigma)
        path = round(mean * (spec.min_steps + spec.max_steps) / 2)
    if config.default_params:
        params = SearchParams.from_dict(config.default_params)
        width, branch, path = params.n, params.branch, min(path, params.max_tokens)
    prompt = min(default.prompt_tokens, max(1, context // 2))
    return Workload(
        n=width,
        branch=branch,
        prompt_tokens=prompt,
        step_tokens=mean,
        step_sigma=sigma,
        path_tokens=max(1, min(path, context - prompt)),
        verifier_batch_tokens=config.verifier_batch_tokens,
    )


def _split(
    scheduler: Any, verifier: Any, config: FastTTSConfig, sizes: tuple[int, int], work: Workload
) -> KVSplit:
    if config.verifier_tokens is not None:
        return KVSplit(config.verifier_tokens)
    try:
        shapes = _shapes(scheduler, verifier, sizes)
    except ConfigError as exc:
        fraction = config.verifier_fraction or UNPLANNED
        logger.warning("FastTTS: the verifier gets %.2f of the KV memory: %s", fraction, exc)
        return KVSplit(int(_budget(scheduler, sizes[0], fraction) * fraction / sizes[1]))
    planner = Planner(*shapes, _machine(scheduler), work)
    plan = _plan(scheduler, sizes, config.verifier_fraction, planner)
    offload = predict_offload(plan, *shapes)
    return KVSplit(plan.verifier.kv_tokens, plan, shapes, offload)


def _plan(scheduler: Any, sizes: tuple[int, int], fraction: float | None, planner: Planner) -> Plan:
    generator, verifier = sizes
    tokens = scheduler.server_args.max_total_tokens
    if fraction is not None:
        budget = _budget(scheduler, generator, fraction)
        return planner.at(budget, int(budget * fraction))
    budget = _free_bytes(scheduler)
    if tokens is not None and tokens * (generator + verifier) <= budget:
        # the generator's pool is fixed, so there is nothing to choose: both hold the same tree
        return planner.at(tokens * (generator + verifier), tokens * verifier)
    return planner.best(budget)


def _check_room(
    scheduler: Any, sizes: tuple[int, int], verifier_tokens: int, path_tokens: int
) -> None:
    """Raise InsufficientMemory unless a path fits into what each model really gets."""
    generator, verifier = sizes
    left = _free_bytes(scheduler) - verifier_tokens * verifier
    if (tokens := scheduler.server_args.max_total_tokens) is not None:
        left = min(left, tokens * generator)
    missing = max(0, path_tokens * generator - left)
    missing += max(0, path_tokens - verifier_tokens) * verifier
    if missing:
        refuse(path_tokens, missing)


def _budget(scheduler: Any, generator: int, fraction: float) -> int:
    """Bytes for both pools if the verifier's part is given."""
    tokens = scheduler.server_args.max_total_tokens
    if tokens is None:
        return _free_bytes(scheduler)
    return int(tokens * generator / (1 - fraction))


def _free_bytes(scheduler: Any) -> int:
    """Bytes that SGLang would give to KV now: the least of all ranks."""
    args, runner = scheduler.server_args, scheduler.tp_worker.model_runner
    group = get_world_group()
    free = get_available_gpu_memory(
        args.device,
        scheduler.ps.gpu_id,
        distributed=group.world_size > 1,
        cpu_group=group.cpu_group,
    )
    reserve = runner.pre_model_load_memory * (1 - args.mem_fraction_static)
    return int((free - reserve) * _GIB)


def _machine(scheduler: Any) -> Machine:
    """This machine as rank 0 sees it, so that all ranks plan alike."""
    ps, group = scheduler.ps, get_world_group()
    if group.world_size == 1:
        return calibration.this_machine(scheduler.server_args.device, ps.gpu_id)
    first = ps.tp_size * ps.pp_rank + ps.tp_rank == group.ranks[0]
    found = [calibration.this_machine(scheduler.server_args.device, ps.gpu_id)] if first else []
    rank = group.ranks[0] if first else -1
    machine: Machine = broadcast_pyobj(found, rank, group.cpu_group, src=group.ranks[0])[0]
    return machine


def _shapes(scheduler: Any, verifier: Any, sizes: tuple[int, int]) -> tuple[ModelShape, ModelShape]:
    """What both models cost; the size of a token's KV is SGLang's own figure."""
    runners = (scheduler.tp_worker.model_runner, verifier.model_runner)
    generator, reward = (
        replace(
            ModelShape.from_config(
                runner.model_config.hf_config.to_dict(),
                name,
                dtype=str(runner.dtype).removeprefix("torch."),
                tp_size=scheduler.ps.tp_size,
            ),
            kv_bytes=size,
        )
        for name, runner, size in zip(("generator", "verifier"), runners, sizes, strict=True)
    )
    return generator, reward


def _kv_bytes(scheduler: Any, verifier: Any) -> tuple[int, int]:
    """Bytes of KV cache that one token takes on one rank, in the generator and in the verifier."""
    tp_size = scheduler.ps.tp_size
    generator, reward = (
        int(
            2
            * runner.model_config.num_hidden_layers
            * runner.model_config.get_num_kv_heads(tp_size)
            * runner.model_config.head_dim
            * runner.kv_cache_dtype.itemsize
        )
        for runner in (scheduler.tp_worker.model_runner, verifier.model_runner)
    )
    return generator, reward
