"""What a search returns. Unknown is None, never 0 or -1."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from ..telemetry.timeline import Span
from .core import Finish, Path


@dataclass(frozen=True, slots=True)
class Step:
    """One reasoning step."""

    text: str
    token_ids: tuple[int, ...]
    score: float | None  # verifier's probability that all is right up to here; None: not scored


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path the search ended with."""

    path: Path
    text: str
    steps: tuple[Step, ...]
    score: float | None  # aggregate of the steps' scores
    finish: Finish
    answer: str | None
    num_tokens: int
    complete_s: float | None = None  # seconds into the search when its last token was there


class Fate(StrEnum):
    """What became of a node."""

    KEPT = "kept"  # asked for, and survived its round
    PRUNED = "pruned"  # asked for, and did not, or the search was stopped before it could
    WASTED = "wasted"  # decoded ahead and never asked for


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A node of the search tree of which at least one token was decoded."""

    path: Path
    steps: tuple[Step, ...]  # its own; of a node that is not complete the last one is cut off
    fate: Fate
    finish: Finish | None  # None: not complete, it was dropped before
    round: int | None  # the one that asked for it, from 1; None: none did

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps)

    @property
    def score(self) -> float | None:
        """The verifier's of its last step; None: not scored."""
        return self.steps[-1].score

    @property
    def num_tokens(self) -> int:
        return sum(len(step.token_ids) for step in self.steps)


@dataclass(frozen=True, slots=True)
class Usage:
    """What was really computed."""

    prompt_tokens: int
    completion_tokens: int  # of all steps asked for, whether or not their path survived
    verifier_tokens: int  # run through the verifier
    verifier_cached_tokens: int  # not run, because their KV was there
    rounds: int
    children: int  # rows decoded
    slot_tokens: int  # what its decode slots could have decoded
    speculated_kept: int = 0  # of completion_tokens: decoded before they were asked for
    speculated_wasted: int = 0  # decoded ahead and never asked for; not in completion_tokens
    overrun: int = 0  # decoded behind the end of a step before that was noticed, not used
    recomputed_tokens: int = 0  # prefilled again, because their KV had been evicted
    prefilled_rows: int = 0  # rows that needed a prefill for it; all others were forked
    verifier_recomputed_tokens: int | None = None  # the verifier's; None: it does not tell
    restored_tokens: int = 0  # copied back from the host instead, see --fasttts-host-offload
    verifier_restored_tokens: int = 0  # the verifier's
    kv_high_water_tokens: int = 0  # most KV tokens held by running requests, of all searches
    verifier_kv_high_water_tokens: int | None = None  # the verifier's; None: it does not tell
    speculated_hits: tuple[int, ...] = ()  # kept steps, by how many rounds ahead they were begun

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from the JSON form."""
        return cls(**{**raw, "speculated_hits": tuple(raw.get("speculated_hits", ()))})


@dataclass(frozen=True, slots=True)
class SearchResult:
    """An answer and how it was found."""

    id: str
    answer: str | None
    best: Candidate | None  # the best candidate with that answer
    candidates: tuple[Candidate, ...]  # best first
    votes: Mapping[str, float]  # weight per normalised answer
    usage: Usage
    timing: Mapping[str, float]  # seconds, and the number of `decode_steps`
    stopped: str | None = None  # the parameter that ended it early
    params: Mapping[str, Any] = field(default_factory=dict)  # SearchParams.to_dict()
    # if `params` asked for the timeline:
    timeline: tuple[Span, ...] = ()
    nodes: tuple[TreeNode, ...] = ()  # in path order
    problem: str | None = None  # the user's text; None: the prompt had none

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` reads it back."""
        raw = asdict(self)
        if self.best is not None:  # stands among the candidates already
            raw["best"] = self.candidates.index(self.best)
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild a result from its JSON form."""
        candidates = tuple(_candidate(item) for item in raw["candidates"])
        best = None if raw["best"] is None else candidates[raw["best"]]
        usage = Usage.from_dict(raw["usage"])
        timeline = tuple(map(Span.from_dict, raw.get("timeline", ())))
        nodes = tuple(map(_node, raw.get("nodes", ())))
        known = {"candidates": candidates, "best": best, "usage": usage, "timeline": timeline}
        return cls(**{**raw, **known, "nodes": nodes})


def _candidate(raw: Mapping[str, Any]) -> Candidate:
    steps, finish = _steps(raw["steps"]), Finish(raw["finish"])
    return Candidate(**{**raw, "path": tuple(raw["path"]), "steps": steps, "finish": finish})


def _node(raw: Mapping[str, Any]) -> TreeNode:
    finish = None if raw["finish"] is None else Finish(raw["finish"])
    known = {"path": tuple(raw["path"]), "steps": _steps(raw["steps"]), "finish": finish}
    return TreeNode(**{**raw, **known, "fate": Fate(raw["fate"])})


def _steps(raw: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    return tuple(Step(**{**step, "token_ids": tuple(step["token_ids"])}) for step in raw)
