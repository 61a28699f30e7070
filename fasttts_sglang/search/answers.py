"""Choosing one answer among many."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from .core import Finish, Path

SELECTIONS = ("best", "majority", "weighted")
GROUPINGS = ("math", "string")


def normalize(answer: str) -> str:
    """A form in which equal answers are equal strings.

    >>> normalize(" $1,234.00 ."), normalize("x = 3")
    ('1234', 'x = 3')
    """
    text = answer.strip().rstrip(".").strip().strip("$").strip()
    plain = text.replace(",", "")
    sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
    whole, _, fraction = digits.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (fraction and not fraction.isdigit()):
        return text
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    value = f"{whole}.{fraction}" if fraction else whole
    return value if value == "0" else sign + value


class Voter(Protocol):
    """What selection needs to know of a candidate."""

    @property
    def path(self) -> Path: ...
    @property
    def score(self) -> float | None: ...
    @property
    def answer(self) -> str | None: ...
    @property
    def finish(self) -> Finish: ...


V = TypeVar("V", bound=Voter)


@dataclass(frozen=True, slots=True)
class Choice(Generic[V]):
    """The chosen answer, its best candidate, and the weight of every answer."""

    answer: str | None
    best: V | None
    votes: Mapping[str, float]


def select(
    candidates: Sequence[V], selection: str, equal: Callable[[str, str], bool] | None = None
) -> Choice[V]:
    """Choose an answer.

    `best` takes the best-scored candidate's; `majority` counts candidates per answer; `weighted`
    adds up their scores. Candidates that ended vote; only if none did, the others do. Ties go to
    the answer of the better candidate, by score, then by path.

    Args:
        candidates: In any order. A score of None counts as 0 in a comparison.
        selection: One of SELECTIONS.
        equal: Whether two answers are one, if strings alone do not tell. A new answer is compared
            with the best candidate's answer of each group, best first, and joins the first that
            is equal. It is called with normalised answers.

    Returns:
        A choice with `answer` None if no candidate has one.
    """
    ranked = sorted(candidates, key=lambda c: (-(c.score or 0.0), c.path))
    ended = [c for c in ranked if c.finish is Finish.EOS] or ranked
    groups: dict[str, list[V]] = {}
    group_of: dict[str, str] = {}
    for candidate in ended:
        if candidate.answer is not None:
            answer = normalize(candidate.answer)
            if answer not in group_of:
                alike = (first for first in groups if equal(first, answer)) if equal else iter(())
                group_of[answer] = next(alike, answer)
            groups.setdefault(group_of[answer], []).append(candidate)
    votes = {
        answer: math.fsum((c.score or 0.0) if selection == "weighted" else 1.0 for c in group)
        for answer, group in groups.items()
    }
    if not groups:
        return Choice(None, ended[0] if ended else None, {})
    if selection == "best":
        winner = next(iter(groups))  # groups are in order of their best candidate
    else:
        winner = max(groups, key=lambda answer: votes[answer])  # the first of equals
    return Choice(groups[winner][0].answer, groups[winner][0], votes)
