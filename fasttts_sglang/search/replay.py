"""A synthetic workload: how long steps are and how they score, drawn from the path alone.

Models with random weights have real costs but senseless steps. A replayed search runs them through
the real decode loop and the real verifier, and only takes the step boundaries and the score values
from here. So two systems that search the same replay do exactly the same work.
"""

import json
import math
from dataclasses import dataclass, fields
from hashlib import blake2b
from statistics import NormalDist
from typing import Self

from ..errors import ConfigError
from .core import Finish, Path

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class ReplaySpec:
    """The distribution.

    Step lengths are lognormal. A score is the logistic function of a standard normal variable that
    follows its parent's with correlation `rho`, so that selection is realistic. A path ends after
    `min_steps` to `max_steps` steps, each number equally likely.
    """

    mean_tokens: float = 70.0
    sigma: float = 0.6
    rho: float = 0.8
    min_steps: int = 6
    max_steps: int = 10

    def __post_init__(self) -> None:
        for name, low, high in (
            ("mean_tokens", 1, 100_000),
            ("sigma", 0, 3),
            ("rho", 0, 1),
            ("min_steps", 1, 1000),
            ("max_steps", self.min_steps, 1000),
        ):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigError(
                    f"--fasttts-replay: {name} must be in [{low}, {high}], got {value!r}"
                )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a JSON object with any of the fields.

        Raises:
            ConfigError: It is none, a field is unknown or out of range.
        """
        try:
            values = json.loads(text)
        except ValueError as exc:
            raise ConfigError(f"--fasttts-replay: not JSON: {exc}") from exc
        known = [entry.name for entry in fields(cls)]
        if not isinstance(values, dict) or not set(values) <= set(known):
            raise ConfigError(
                f"--fasttts-replay: must be a JSON object of {', '.join(known)}, got {text}"
            )
        return cls(**values)


class Replay:
    """One search's draw from a `ReplaySpec`.

    >>> replay = Replay(ReplaySpec(), seed=1)
    >>> replay.step_tokens((0, 2)) == Replay(ReplaySpec(), seed=1).step_tokens((0, 2))
    True
    """

    def __init__(self, spec: ReplaySpec, seed: int) -> None:
        self._spec = spec
        self._seed = seed
        self._latent: dict[Path, float] = {(): 0.0}

    def step_tokens(self, path: Path) -> int:
        """Length of the path's last step, in tokens."""
        spec = self._spec
        mu = math.log(spec.mean_tokens) - spec.sigma**2 / 2
        return max(1, round(math.exp(mu + spec.sigma * self._normal("length", path))))

    def score(self, path: Path) -> float:
        """Score of the path's last step, in (0, 1)."""
        return 1 / (1 + math.exp(-self._variable(path)))

    def finish(self, path: Path) -> Finish:
        """Whether the path's last step ends the answer."""
        left = self._spec.max_steps - len(path) + 1  # step counts still possible
        if len(path) < self._spec.min_steps:
            return Finish.STOP
        return Finish.EOS if left <= 1 or self._uniform("end", path) < 1 / left else Finish.STOP

    def _variable(self, path: Path) -> float:
        if path not in self._latent:
            rho = self._spec.rho if len(path) > 1 else 0.0
            noise = math.sqrt(1 - rho**2) * self._normal("score", path)
            self._latent[path] = rho * self._variable(path[:-1]) + noise
        return self._latent[path]

    def _normal(self, what: str, path: Path) -> float:
        return _NORMAL.inv_cdf(self._uniform(what, path))

    def _uniform(self, what: str, path: Path) -> float:
        """In (0, 1)."""
        name = f"{what} {self._seed} {'.'.join(map(str, path))}".encode()
        drawn = int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
        return (drawn + 0.5) / 2**64
