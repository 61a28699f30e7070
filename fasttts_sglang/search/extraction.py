"""Reading an answer off a text. Linear time on any text."""

import re
from collections.abc import Callable
from textwrap import dedent

_LABEL = re.compile("answer:", re.IGNORECASE | re.ASCII)
_ANSWER = re.compile(r"\b(?:answer|choice|option)\b", re.IGNORECASE | re.ASCII)
# A capital that stands alone and is not the word "I", or any letter in brackets.
_LETTER = re.compile(
    r"(?<![A-Za-z])(?:[A-HJ]|I(?!\s*[a-z]))(?![A-Za-z'])|(?<=[({\[])[a-j](?=[)}\]])"
)
_DEFINES = re.compile(r"^[ \t]*(?:def|class|async def)[ \t]", re.MULTILINE)
_PYTHON = ("", "py", "python", "python3")


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


def choice(text: str) -> str | None:
    r"""The letter of a multiple choice, A to J: boxed, else after the last "answer" that has one,
    else alone on the last line.

    >>> choice("The answer is (B)."), choice(r"\boxed{\text{C}}"), choice("answer: d")
    ('B', 'C', 'D')
    """
    if found := _letter(boxed(text) or ""):
        return found
    for label in reversed(list(_ANSWER.finditer(text))):
        after = text[label.end() : label.end() + 40].partition("\n")[0]
        if found := _letter(after):
            return found
    line = last_line(text) or ""
    return _letter(line) if len(line) <= 8 else None


def _letter(text: str) -> str | None:
    found = _LETTER.search("{" + text.strip(" \t:.*$") + "}")
    return found[0].upper() if found else None


def code(text: str) -> str | None:
    r"""The last fenced block of Python that defines something, else the last one.

    A block that was never closed counts too.

    >>> code("So:\n```python\ndef f(): ...\n```\nTry it:\n```python\nf()\n```")
    'def f(): ...'
    """
    blocks = _blocks(text)
    defining = [block for block in blocks if _DEFINES.search(block)]
    return next(reversed(defining or blocks), None)


def _blocks(text: str) -> list[str]:
    """All fenced blocks that are Python or of no language."""
    blocks: list[tuple[str, list[str]]] = []
    inside = False
    for line in text.split("\n"):
        fence = line.strip()
        if not inside and fence.startswith("```"):
            blocks.append((fence[3:].strip().lower(), []))
            inside = True
        elif inside and fence == "```":
            inside = False
        elif inside:
            blocks[-1][1].append(line)
    return [dedent("\n".join(lines)).rstrip() for name, lines in blocks if name in _PYTHON]


EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    "auto": auto,
    "boxed": boxed,
    "choice": choice,
    "code": code,
    "last_line": last_line,
    "number": number,
}


def extract(text: str, extractor: str) -> str | None:
    """The answer in `text`, or None."""
    found = EXTRACTORS[extractor](text)
    return found if found is None else found.strip() or None
