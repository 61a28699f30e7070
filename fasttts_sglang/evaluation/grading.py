"""Whether an answer is right."""

from collections.abc import Callable

from ..errors import ConfigError
from ..mathematics import equality
from . import sandbox

SOLUTION = "# <solution>\n"
"""Where the answer goes in a program of tests; without it, first."""


def same_string(answer: str, truth: str) -> bool:
    """Equal but for surrounding blanks and case.

    >>> same_string(" B ", "b")
    True
    """
    return answer.strip().casefold() == truth.strip().casefold()


def same_choice(answer: str, truth: str) -> bool:
    """Multiple choice: the letter, however it is wrapped.

    >>> same_choice("(b).", "B")
    True
    """
    return _letters(answer) == _letters(truth) != ""


def _letters(text: str) -> str:
    return "".join(char for char in text if char.isalpha()).upper()


def same_math(answer: str, truth: str) -> bool:
    """Equal as mathematics, by `math-verify`.

    Raises:
        ConfigError: It is not installed.
    """
    if not equality.available():
        raise ConfigError(f"--grader: {equality.MISSING}")
    return same_string(answer, truth) or equality.Equality()(truth, answer)


def passes(answer: str, tests: str) -> bool:
    """Code: it runs, and so do its tests, in the sandbox.

    Args:
        tests: A program that goes after the answer, or has a line SOLUTION in its place.

    Raises:
        ConfigError: The sandbox does not work here.
    """
    before, found, after = tests.partition(SOLUTION)
    if not found:
        before, after = "", tests
    return sandbox.run(f"{before}\n{answer}\n{after}").passed


GRADERS: dict[str, Callable[[str, str], bool]] = {
    "string": same_string,
    "choice": same_choice,
    "math": same_math,
    "code": passes,
}

READ_AS = {"choice": "choice", "code": "code"}
"""The search parameter `answer` that suits a grader, where it is not the default."""
