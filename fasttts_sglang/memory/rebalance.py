"""When the split of the KV budget is looked at again: the workload has changed, and for long."""

from collections.abc import Callable
from dataclasses import astuple, dataclass

CHANGE = 1.5  # factor by which a figure of the workload must change
GAIN = 0.1  # of the budget that must move, or the move is not worth its pause
PAUSE = 4  # looks between two moves
FADE = 0.98  # what is left of the longest path a look later: searches begin short again and again


@dataclass(frozen=True, slots=True)
class Load:
    """What searches ask of the pools.

    Attributes:
        width: Beams of all running searches together.
        tokens: Prompt and response of the longest path.
    """

    width: int
    tokens: int


Decide = Callable[[Load], float | None]
"""The generator's share of the budget that suits a workload, in (0, 1); None: leave it."""


class Rebalancer:
    """Asks `decide` when the workload has changed, with hysteresis.

    Example:
        >>> rebalancer = Rebalancer(lambda load: 0.5)
        >>> rebalancer.look(Load(16, 900), share=0.8)
        0.5
        >>> rebalancer.look(Load(16, 950), share=0.5)  # hardly another workload
    """

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._decided: Load | None = None  # what the last decision was made for
        self._quiet = 0  # looks that must pass
        self._longest = 0.0  # tokens, fading

    def look(self, load: Load, share: float) -> float | None:
        """The generator's new share of the budget, or None to leave it at `share`.

        Args:
            load: Of now; width 0 means that nothing runs, which is no reason to move.
        """
        self._longest = max(load.tokens, self._longest * FADE)
        load = Load(load.width, round(self._longest))
        if self._quiet:
            self._quiet -= 1
            return None
        if load.width < 1 or not self._changed(load):
            return None
        self._decided = load
        target = self._decide(load)
        if target is None or abs(target - share) < GAIN:
            return None
        self._quiet = PAUSE
        return target

    def failed(self) -> None:
        """The move could not be made: ask again after a pause."""
        self._decided = None

    def _changed(self, load: Load) -> bool:
        if self._decided is None:
            return True
        pairs = zip(astuple(self._decided), astuple(load), strict=True)
        return any(max(a, b) >= CHANGE * max(1, min(a, b)) for a, b in pairs)


def equal_tokens(generator_bytes: int, verifier_bytes: int) -> Decide:
    """Room for as many tokens in both pools: both models hold the same paths.

    Args:
        generator_bytes, verifier_bytes: KV bytes of one token.
    """
    share = generator_bytes / (generator_bytes + verifier_bytes)
    return lambda load: share
