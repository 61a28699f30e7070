"""What a search asks of the two models."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from .. import fields as declared
from ..errors import BadRequest
from ..fields import option

MOST_BEAMS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A verifier-guided search, as a plan sees it.

    The defaults are those of the replay benchmark: 8 steps of 70 tokens, spread as step lengths of
    reasoning models are.

    Raises:
        BadRequest: A field is of the wrong type or out of range.
    """

    n: int = option(64, "Number of beams.", ge=1, le=MOST_BEAMS)
    branch: int = option(4, "Children per kept beam.", ge=1, le=MOST_BEAMS)
    prompt_tokens: int = option(256, "Tokens of the prompt.", ge=1, le=1_000_000)
    step_tokens: float = option(70.0, "Mean tokens of a step.", ge=1, le=1_000_000)
    step_sigma: float = option(
        0.6, "Spread of step lengths: the sigma of a lognormal distribution.", ge=0, le=2
    )
    path_tokens: int = option(560, "Expected response tokens of one path.", ge=1, le=1_000_000)
    verifier_batch_tokens: int = option(
        16_384, "Tokens per forward of the verifier.", ge=1, le=1 << 30
    )

    def __post_init__(self) -> None:
        hints = declared.types(type(self))
        for entry in fields(self):
            if text := declared.problem(entry, hints[entry.name], getattr(self, entry.name)):
                raise BadRequest(entry.name, text)

    @property
    def rounds(self) -> int:
        """Steps of a path."""
        return max(1, round(self.path_tokens / self.step_tokens))

    @property
    def longest_tokens(self) -> int:
        """Tokens of one whole path with its prompt: what each model must hold at least."""
        return self.prompt_tokens + self.path_tokens

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
