"""Reading an answer off a text, and choosing one among many. Linear time on any text."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from .core import Finish, Path

SELECTIONS = ("best", "majority", "weighted")
_LABEL = re.compile("answer:", re.IGNORECASE | re.ASCII)


def boxed(text: str) -> str | None:
    r"""Content of the last \boxed{...}.

    >>> boxed(r"so \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    begin = text.rfind(r"\boxed{")
    if begin < 0:
        return None
    begin += len(r"\boxed{")
    depth = 1
    for end in range(begin, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[begin:end]
    return None


def last_line(text: str) -> str | None:
    """The last line that is not blank."""
    lines = text.rstrip().rsplit("\n", 1)
    return lines[-1].strip() or None


def number(text: str) -> str | None:
    """The last number.

    >>> number("from 3 we get 1,234.50 dollars.")
    '1,234.50'
    """
    end = len(text)
    while end and not text[end - 1].isdigit():
        end -= 1
    begin = end
    while begin and (text[begin - 1].isdigit() or text[begin - 1] in ".,"):
        begin -= 1
    found = text[begin:end].lstrip(".,")
    negative = text[:begin].endswith("-") and found
    return f"-{found}" if negative else found or None


def auto(text: str) -> str | None:
    r"""The \boxed{} content, else what follows the last "answer:", else the last line.

    >>> auto("37+5=42\n\nanswer: 42")
    '42'
    """
    if (found := boxed(text)) is not None:
        return found
    *_, after = _LABEL.split(text)
    return last_line(after)


EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    "auto": auto,
    "boxed": boxed,
    "last_line": last_line,
    "number": number,
}


def extract(text: str, extractor: str) -> str | None:
    """The answer in `text`, or None."""
    found = EXTRACTORS[extractor](text)
    return found if found is None else found.strip() or None


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


def select(candidates: Sequence[V], selection: str) -> Choice[V]:
    """Choose an answer.

    `best` takes the best-scored candidate's; `majority` counts candidates per answer; `weighted`
    adds up their scores. Candidates that ended vote; only if none did, the others do. Ties go to
    the answer of the better candidate, by score, then by path.

    Args:
        candidates: In any order. A score of None counts as 0 in a comparison.
        selection: One of SELECTIONS.

    Returns:
        A choice with `answer` None if no candidate has one.
    """
    ranked = sorted(candidates, key=lambda c: (-(c.score or 0.0), c.path))
    ended = [c for c in ranked if c.finish is Finish.EOS] or ranked
    groups: dict[str, list[V]] = {}
    for candidate in ended:
        if candidate.answer is not None:
            groups.setdefault(normalize(candidate.answer), []).append(candidate)
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
