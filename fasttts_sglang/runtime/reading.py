"""A path as the verifier reads it, and the request to score its newest steps."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ..verifier.score_cache import ScoreCache

if TYPE_CHECKING:
    from .kv_paths import KvEnd


@dataclass(slots=True)
class Reading:
    """A problem and the steps of one path as the verifier's token ids."""

    ids: array  # type: ignore[type-arg]  # int64; the problem's, then each step's
    begin: int  # where the first step begins
    problem: str | None = None  # the user's text, if known
    ends: list[int] = field(default_factory=list)  # of each step within `ids`; its score stands
    # at the token before
    keys: list[bytes] = field(default_factory=list)  # of ids[:end] in the score cache, per step

    questions: list[Sequence[int]] = field(default_factory=list)  # per step: what stands in its
    # place when a verifier is asked to write a verdict on it
    kv: "KvEnd | None" = None  # where the KV of these ids, or of the first of them, ends in the
    # verifier's radix tree

    @classmethod
    def of(cls, prompt: Sequence[int], problem: str | None) -> Self:
        """A problem without steps."""
        return cls(array("q", prompt), len(prompt), problem)

    def copy(self) -> "Reading":
        """For a path that goes on from here."""
        return Reading(
            self.ids[:],
            self.begin,
            self.problem,
            list(self.ends),
            list(self.keys),
            list(self.questions),
            self.kv,
        )

    def cut(self, num_steps: int) -> None:
        """Forget all but the first steps."""
        del self.ends[num_steps:], self.keys[num_steps:], self.questions[num_steps:]
        del self.ids[self.ends[-1] if self.ends else self.begin :]

    def add(self, ids: Sequence[int], question: Sequence[int] = ()) -> None:
        """One more step."""
        self.questions.append(question)
        before = self.keys[-1] if self.keys else ScoreCache.extend(b"", self.ids)
        self.keys.append(ScoreCache.extend(before, ids))
        self.ids.extend(ids)
        self.ends.append(len(self.ids))


@dataclass(slots=True)
class ScoreJob:
    """Score the steps of `reading` from number `known` on.

    After the verifier's `score`, `scores` has one entry for each of them, each in [0, 1]. Without
    any, the job only brings the reading's KV into the verifier's cache.
    """

    reading: Reading
    known: int
    of_search: bool = True  # else a client asks for it
    scores: list[float] = field(default_factory=list)
    computed: int = 0  # tokens run through the verifier for this job
    cached: int = 0  # tokens whose KV was there already
    restored: int = 0  # of `cached`: from the host
    recomputed: int | None = None  # of `computed`: before the steps to score; None: not told
    kv_in_use: int | None = None  # tokens that its forward held in the KV pool; None: not told
    missing: int = 0  # scores that are still being computed
    error: str | None = None  # why there are none
    ends: list[int] = field(init=False)  # of the steps to score
    keys: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.ends = self.reading.ends[self.known :]
        self.keys = self.reading.keys[self.known :]

    @property
    def done(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.missing == 0 or self.error is not None

    @property
    def token_ids(self) -> array:  # type: ignore[type-arg]
        """What the verifier reads."""
        return self.reading.ids

    def question(self, number: int) -> array:  # type: ignore[type-arg]
        """All that a generative verifier reads before it writes on step `number` of `ends`."""
        step = self.known + number
        begin = self.reading.ends[step - 1] if step else self.reading.begin
        return self.token_ids[:begin] + array("q", self.reading.questions[step])

    @property
    def begin_unknown(self) -> int:
        """Where that step begins; the whole sequence if there is none."""
        if not self.ends:
            return len(self.token_ids)
        step = self.known + len(self.scores)
        return self.reading.ends[step - 1] if step else self.reading.begin

    @property
    def first_unknown(self) -> int:
        """End of the first step without a score; the whole sequence if there is none."""
        return self.ends[len(self.scores)] if self.ends else len(self.token_ids)
