"""Predicted seconds of a round as a function of KV memory.

A forward takes a fixed time and then whatever is longer: reading weights and KV at the machine's
bandwidth, or its arithmetic at the machine's rate. `docs/memory.md` has the formulas.
"""

from statistics import NormalDist
from typing import TypeVar

import numpy as np

from .machines import Machine
from .shapes import ModelShape
from .working_set import Floats, WorkingSet
from .workload import Workload

PREFILL_TOKENS = 8192  # of one prefill forward of the generator, as SGLang chunks it
VERIFIER_ROWS = 256  # sequences of one verifier forward

# What a prefill, without a CUDA graph, attains of the rate of a large matrix product. Fitted to a
# verifier of Qwen2.5-1.5B's shape on an H200; a slower card attains more, so that its prefill is
# predicted on the slow side.
PREFILL_RATE = 0.57

_Z = np.linspace(-4, 5, 61)  # where the lognormal distribution of step lengths is looked at
_LONGER = np.array([1 - NormalDist().cdf(z) for z in _Z])
_WIDTHS = 40  # numbers of rows at once that are looked at

_Seconds = TypeVar("_Seconds", float, Floats)


def generator_seconds(
    model: ModelShape, machine: Machine, workload: Workload, tokens: Floats
) -> Floats:
    """Mean seconds of a round's decoding, given a KV pool of so many tokens; same length.

    All n rows run at once if they fit. Else the next row joins as one ends, without a prefill, and
    prefixes that were evicted are computed again, each once: all together when the round begins, or
    where rows wait a step's tokens at a time.
    """
    sets = WorkingSet.of(workload)
    rows = sets.rows_at_once(tokens)  # tokens x rounds
    widths = np.geomspace(1, workload.n, _WIDTHS)
    decode = _decode_seconds(model, machine, workload, sets, widths)
    seconds = np.empty_like(rows)
    for index in range(rows.shape[1]):
        seconds[:, index] = np.interp(rows[:, index], widths, decode[:, index])

    again = generator_recomputed(sets, tokens)
    half_path = (workload.prompt_tokens + sets.path) / 2
    per_token = model.flops + model.attention_flops * half_path
    late = 1 - rows / workload.n
    forwards = again * np.maximum(1 / PREFILL_TOKENS, late / workload.step_tokens)
    reading = forwards * model.read_bytes
    seconds += forwards * machine.prefill_s
    seconds += np.maximum(
        reading / machine.bandwidth, again * per_token / (machine.rate * PREFILL_RATE)
    )
    return np.asarray(seconds.mean(axis=1))


def _decode_seconds(
    model: ModelShape, machine: Machine, workload: Workload, sets: WorkingSet, widths: Floats
) -> Floats:
    """Seconds of decoding all rows with so many at once, by width and round."""
    step = workload.step_tokens
    weights_s = model.read_bytes / machine.bandwidth
    # a row's context while it decodes, weighted by the steps that it takes part in
    context = workload.prompt_tokens + sets.path + step * np.exp(workload.step_sigma**2) / 2
    kv_s = (model.kv_bytes * context / machine.bandwidth)[:, None]
    per_token = model.flops + model.head_flops + model.attention_flops * context
    rate_s = (per_token / machine.rate)[:, None]

    busy, spans, alive, any_alive = _batch_sizes(workload, widths)
    # while others wait, as many rows as fit decode all the time
    rows = widths[:, None]
    full = machine.step_s + machine.row_s * rows
    full = full + np.maximum(weights_s + rows * kv_s.T, rows * rate_s.T)
    seconds = busy[:, None] * full
    # then the batch shrinks as rows end
    alive, any_alive = alive[:, None], any_alive[:, None]
    last = np.maximum(any_alive * weights_s + alive * kv_s, alive * rate_s)
    last += any_alive * machine.step_s + alive * machine.row_s
    seconds += last @ spans
    # nobody has to run as many rows as fit; this also irons out what is only approximate
    return np.asarray(np.minimum.accumulate(seconds, axis=0))


def _batch_sizes(workload: Workload, widths: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """How a round's rows come and go when `widths` of them decode at once.

    Returns:
        By width, the decode steps while rows wait; then stretches of the steps after that, and by
        width and stretch the rows still there on average and the probability that there is one.

    Rows start at an even rate until none waits, `begun` steps after the first. After another t, one
    that began u before that end is still there with the probability that steps exceed u + t.
    """
    step = workload.step_tokens
    mu = np.log(step) - workload.step_sigma**2 / 2
    at = np.concatenate(([0.0], np.exp(mu + workload.step_sigma * _Z)))
    longer = np.concatenate(([1.0], _LONGER))
    pieces = np.diff(at) * (longer[1:] + longer[:-1]) / 2
    scale = step / pieces.sum()  # a row takes `step_tokens` steps on average
    at, spans = at * scale, np.diff(at) * scale
    to_come = np.append(np.cumsum((pieces * scale)[::-1])[::-1], 0.0)  # steps after each `at`

    middle = (at[1:] + at[:-1]) / 2
    begun = ((workload.n - widths) * step / widths)[:, None]
    since_first = np.interp(middle + begun, at, longer, right=0.0)
    since_late = np.interp(middle, at, to_come) - np.interp(middle + begun, at, to_come, right=0.0)
    first = widths[:, None] * since_first
    late = widths[:, None] / step * since_late
    none_alive = widths[:, None] * np.log1p(-np.minimum(since_first, 1 - 1e-12)) - late
    alive, any_alive = first + late, -np.expm1(none_alive)
    busy = np.maximum(0.0, (workload.n * step - alive @ spans) / widths)
    return busy, spans, alive, any_alive


def verifier_seconds(
    model: ModelShape, machine: Machine, workload: Workload, tokens: Floats
) -> Floats:
    """Mean seconds of scoring a round's steps, given a KV pool of so many tokens; same length.

    New steps are computed, their prefixes come from the cache or are computed again, for each row
    by itself: the rows of one forward share nothing that was not cached before it.
    """
    sets = WorkingSet.of(workload)
    again = verifier_recomputed(sets, tokens)
    work = workload.n * workload.step_tokens + again
    room = np.minimum(workload.verifier_batch_tokens, tokens)[:, None]
    forwards = np.maximum(work / room, max(1.0, workload.n / VERIFIER_ROWS))
    context = workload.prompt_tokens + sets.path + workload.step_tokens
    reading = forwards * model.read_bytes + workload.n * context * model.kv_bytes
    flops = work * (model.flops + model.attention_flops * context)
    seconds = forwards * machine.prefill_s
    seconds += np.maximum(reading / machine.bandwidth, flops / (machine.rate * PREFILL_RATE))
    return np.asarray(seconds.mean(axis=1))


def round_seconds(machine: Machine, generator_s: _Seconds, verifier_s: _Seconds) -> _Seconds:
    """Seconds of a round whose models take so long; of the verifier only what is not hidden."""
    return generator_s + machine.verifier_waits * verifier_s


def generator_recomputed(sets: WorkingSet, tokens: Floats) -> Floats:
    """Tokens that the generator computes again because they were evicted, by tokens and round."""
    return np.asarray(sets.lost(tokens) * (sets.survivors - sets.survivors[0]))  # prompt stays


def verifier_recomputed(sets: WorkingSet, tokens: Floats) -> Floats:
    """The same for the verifier."""
    return np.asarray(sets.lost(tokens) * sets.n * sets.path)
