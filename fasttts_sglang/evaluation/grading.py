"""Whether an answer is right."""

from collections.abc import Callable

from ..errors import ConfigError


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
    if same_string(answer, truth):
        return True
    try:
        from math_verify import parse, verify
    except ImportError as exc:
        raise ConfigError("--grader: math needs the extra `eval` (math-verify)") from exc
    return bool(verify(parse(f"${truth}$"), parse(f"${answer}$")))


GRADERS: dict[str, Callable[[str, str], bool]] = {
    "string": same_string,
    "choice": same_choice,
    "math": same_math,
}
