"""What a user may ask of one search."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from .. import fields as declared
from ..errors import BadRequest
from ..fields import option
from .aggregate import AGGREGATIONS
from .algorithms import BRANCHING, SAMPLING, known
from .answers import GROUPINGS, SELECTIONS
from .extraction import EXTRACTORS


class Speculation(StrEnum):
    """How much is decoded before it is asked for."""

    OFF = "off"
    PAPER = "paper"  # one continuation per finished beam, ended with the round's last beam
    FULL = "full"


SPECULATION = tuple(mode.value for mode in Speculation)
MAX_STOPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParams:
    """Parameters of one search, validated on construction.

    Raises:
        BadRequest: A value is of the wrong type or out of range; its `field` names it.

    Example:
        >>> SearchParams(n=8).branch
        4
        >>> SearchParams(n=10)
        Traceback (most recent call last):
        fasttts_sglang.errors.BadRequest: n: 10 is not divisible by branch=4
    """

    algorithm: str = option(
        "beam",
        "beam, best_of_n, dvts, dynamic_branching, mcts, particle_filter, rebase, self_consistency"
        " or one of your own.",
    )
    n: int = option(16, "Number of beams, or of samples.", ge=1, le=4096)
    branch: int = option(4, "Children per kept beam; n must be divisible by it.", ge=1, le=4096)
    aggregation: str = option(
        "last", "How step scores become one score.", choices=sorted(AGGREGATIONS)
    )
    selection: str | None = option(
        None,
        "How the answer is chosen; by default best, for self_consistency majority.",
        choices=SELECTIONS,
    )
    max_steps: int = option(40, "Rounds of a beam search.", ge=1, le=10_000)
    verify_every: int = option(1, "Steps between two looks of the verifier.", ge=1, le=1000)
    balance_temperature: float = option(0.2, "Of rebase's softmax over scores.", gt=0, le=100)
    exploration: float = option(1.4, "UCT's constant in mcts.", ge=0, le=1000)
    step_tokens: int | None = option(
        None, "Also end a step after so many tokens.", ge=1, le=1_000_000
    )
    max_step_tokens: int = option(512, "A longer step is cut.", ge=1, le=1_000_000)
    max_tokens: int = option(2048, "Response tokens of one path.", ge=1, le=1_000_000)
    token_budget: int | None = option(
        None, "End after the round in which so many tokens were reached.", ge=1, le=1 << 40
    )
    time_budget_s: float | None = option(
        None, "End after so many seconds with the best so far.", gt=0, le=1e6
    )
    stop_score: float | None = option(
        None, "End after the round in which an answer scores so much.", ge=0, le=1
    )
    temperature: float = option(0.8, "Sampling temperature; 0 is greedy.", ge=0, le=100)
    top_p: float = option(1.0, "Nucleus sampling.", gt=0, le=1)
    top_k: int = option(-1, "Sample among the k likeliest tokens; -1 is all.", ge=-1, le=1 << 30)
    stop: tuple[str, ...] = option(("\n\n",), "Texts that end a step.", ge=0, le=MAX_STOPS)
    stop_token_ids: tuple[int, ...] = option((), "Token ids that end a step.", ge=0, le=256)
    seed: int = option(0, "Seed of the search; it fixes the result.", ge=0, le=2**63 - 1)
    speculation: str | None = option(
        None,
        "What idle slots decode ahead: off, paper or full; no result depends on it.",
        choices=SPECULATION,
    )
    timeline: bool = option(False, "Also return every node, and when it was decoded.")
    answer: str = option("auto", "How an answer is read off a text.", choices=sorted(EXTRACTORS))
    grouping: str = option(
        "string",
        "Which answers count as one in a vote: equal strings, or also equal as mathematics.",
        choices=GROUPINGS,
    )

    def __post_init__(self) -> None:
        hints = declared.types(type(self))
        for entry in fields(self):
            if text := declared.problem(entry, hints[entry.name], getattr(self, entry.name)):
                raise BadRequest(entry.name, text)
        if self.algorithm not in known():
            names = ", ".join(known())
            raise BadRequest("algorithm", f"{self.algorithm!r} is unknown; known are {names}")
        if self.algorithm in BRANCHING and self.n % self.branch:
            raise BadRequest("n", f"{self.n} is not divisible by branch={self.branch}")
        if self.top_k == 0:
            raise BadRequest("top_k", "must be -1 (off) or at least 1, got 0")
        if any(not 0 < len(text) <= 64 for text in self.stop):
            raise BadRequest("stop", "each text must have 1 to 64 characters")

    @property
    def verifier_free(self) -> bool:
        """Whether the search can do without scores."""
        return self.algorithm in SAMPLING and self.chosen_by == "majority"

    @property
    def chosen_by(self) -> str:
        """How the answer is chosen."""
        by_vote = self.algorithm == "self_consistency"
        return self.selection or ("majority" if by_vote else "best")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Parse a JSON object.

        Raises:
            BadRequest: A key is unknown or a value is wrong.
        """
        hints = declared.types(cls)
        if unknown := [name for name in values if name not in hints]:
            raise BadRequest(str(unknown[0]), "is no search parameter")
        fixed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**fixed)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` reads it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def replace(self, **changes: Any) -> Self:
        """A changed copy, validated again."""
        return replace(self, **changes)


def add_flags(parser: Any) -> None:
    """One command line flag per search parameter; those not given stay None."""
    declared.add_arguments(parser, SearchParams)
