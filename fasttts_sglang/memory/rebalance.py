"""When the split of the KV budget is looked at again: the workload has changed, and for long."""

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

from ..errors import InsufficientMemory
from .machines import Machine
from .planner import Planner
from .shapes import ModelShape
from .workload import MOST_BEAMS, Workload

CHANGE = 1.5  # factor by which a figure of the workload must change
GAIN = 0.1  # of the budget that must move, or the move is not worth its pause
SAVING = 0.02  # of a round's predicted time that a move must save, as it drops cached KV
PAUSE = 4  # looks between two moves
FADE = 0.98  # what is left of the longest path a look later: searches begin short again and again


@dataclass(frozen=True, slots=True)
class Load:
    """What searches ask of the pools.

    Attributes:
        width: Beams of all running searches together.
        tokens: Prompt and response of the longest path.
        prompt_tokens: Of the longest prompt.
        branch: Children per kept beam.
        step_tokens: Mean tokens that a round adds to a path; None: no round is over yet.
    """

    width: int
    tokens: int
    prompt_tokens: int = 1
    branch: int = 1
    step_tokens: float | None = None

    def workload(self, like: Workload) -> Workload:
        """The search that the planner takes all running ones for.

        Args:
            like: What is not known of them is as there.
        """
        prompt = max(1, self.prompt_tokens)
        step = like.step_tokens if self.step_tokens is None else max(1.0, self.step_tokens)
        return replace(
            like,
            n=min(max(1, self.width), MOST_BEAMS),
            branch=min(max(1, self.branch), MOST_BEAMS),
            prompt_tokens=prompt,
            step_tokens=step,
            path_tokens=max(math.ceil(step), self.tokens - prompt),
        )


Decide = Callable[[Load, float], float | None]
"""The generator's share of the budget that suits a workload, in (0, 1), given its present share;
None: leave it."""


class Rebalancer:
    """Asks `decide` when the workload has changed, with hysteresis.

    Example:
        >>> rebalancer = Rebalancer(lambda load, share: 0.5)
        >>> rebalancer.look(Load(16, 900), share=0.8)
        0.5
        >>> rebalancer.look(Load(16, 950), share=0.5)  # hardly another workload
    """

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self.decided: Load | None = None  # what the last decision was made for
        self._quiet = 0  # looks that must pass
        self._longest = 0.0  # tokens, fading
        self._step_tokens: float | None = None  # as last seen: a search begins without any

    def look(self, load: Load, share: float) -> float | None:
        """The generator's new share of the budget, or None to leave it at `share`.

        Args:
            load: Of now; width 0 means that nothing runs, which is no reason to move.
        """
        self._longest = max(load.tokens, self._longest * FADE)
        if load.step_tokens is not None:
            self._step_tokens = load.step_tokens
        load = replace(load, tokens=round(self._longest), step_tokens=self._step_tokens)
        if self._quiet:
            self._quiet -= 1
            return None
        if load.width < 1 or not self._changed(load):
            return None
        self.decided = load
        target = self._decide(load, share)
        if target is None or abs(target - share) < GAIN:
            return None
        self._quiet = PAUSE
        return target

    def failed(self) -> None:
        """The move could not be made: ask again after a pause."""
        self.decided = None

    def _changed(self, load: Load) -> bool:
        if self.decided is None:
            return True
        pairs = zip(astuple(self.decided), astuple(load), strict=True)
        known = ((a or 0, b or 0) for a, b in pairs)
        return any(max(a, b) >= CHANGE * max(1, min(a, b)) for a, b in known)


def equal_tokens(generator_bytes: int, verifier_bytes: int) -> Decide:
    """Room for as many tokens in both pools: both models hold the same paths.

    Args:
        generator_bytes, verifier_bytes: KV bytes of one token.
    """
    share = generator_bytes / (generator_bytes + verifier_bytes)
    return lambda load, now: share


def planned(
    generator: ModelShape,
    verifier: ModelShape,
    machine: Machine,
    like: Workload,
    budget_bytes: int,
) -> Decide:
    """The split with the least predicted time of a round, if that is worth a move.

    A budget in which not even one path of each model fits is split in equal tokens.

    Args:
        like: The workload that the server was planned for; see `Load.workload`.
        budget_bytes: KV memory of both models.
    """
    equal = equal_tokens(generator.kv_bytes, verifier.kv_bytes)

    def decide(load: Load, now: float) -> float | None:
        planner = Planner(generator, verifier, machine, load.workload(like))
        try:
            best = planner.best(budget_bytes)
        except InsufficientMemory:
            return equal(load, now)
        try:
            present_s = planner.at(budget_bytes, budget_bytes - int(now * budget_bytes)).round_s
        except InsufficientMemory:
            present_s = math.inf
        saves = best.round_s < present_s * (1 - SAVING)
        return best.generator.kv_bytes / budget_bytes if saves else None

    return decide
