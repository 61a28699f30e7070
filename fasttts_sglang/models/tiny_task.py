"""The task of the bundled tiny pair: arithmetic worked out one operation at a time.

A problem is an expression of whole numbers with `+`, `-`, `*` and parentheses. Its one right
solution reduces the leftmost operation whose operands are plain numbers, writes the columns with
their carries, and repeats what is left:

>>> print(solution("(47+386)*21-95").replace("\\n\\n", "\\n"))
47+386:13,13,4=433;433*21-95
433*21/433*1:3,3,4=433/433*20:6,6,8=8660/433+8660:3,9,10,9=9093;9093-95
9093-95:8b,9b,9b,8=8998
answer:8998

Because there is exactly one right solution, step checking is exact: a step is right if it is the
step that the solution has there. Steps are short sums mostly and sometimes long multiplications,
which is the irregularity that makes search schedules interesting. Standard library only.
"""

import ast
import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

STEP_END = "\n\n"
# Search parameters that suit the bundled pair; its temperature is the one it was trained at.
SEARCH: dict[str, Any] = {
    "temperature": 1.0,
    "aggregation": "min",  # the verifier sees a slip when it happens, and later forgets it
    "max_step_tokens": 192,
    "max_steps": 16,
    "max_tokens": 700,
}
ANSWER = re.compile(r"answer:(\d+)\s*\Z")
Split = Literal["train", "dev", "heldout"]

_LARGEST = 99_999  # largest intermediate value of a generated problem
_LONGEST = 600  # characters of the longest generated solution
_OPERATIONS = (2, 10)  # fewest and most operations of a generated problem
_PRECEDENCE = {"+": 1, "-": 1, "*": 2}
_SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}


@dataclass(frozen=True, slots=True)
class Operation:
    """An inner node of an expression; leaves are plain integers."""

    symbol: str
    left: "Expression"
    right: "Expression"


Expression = Operation | int


# --- problems ---------------------------------------------------------------------------------


def problems(seed: int, count: int, split: Split = "train") -> list[str]:
    """Return `count` distinct problems of one split; the same seed gives the same problems.

    >>> problems(0, 3) == problems(0, 5)[:3]
    True
    """
    found: dict[str, None] = {}
    for problem in _stream(random.Random(seed)):
        if len(found) == count:
            break
        if split_of(problem) == split:
            found[problem] = None
    return list(found)


def split_of(problem: str) -> Split:
    """Return the split that `problem` belongs to, by a stable hash of its text.

    The text decides, not the seed, so no seed can leak a held-out problem into training.
    """
    bucket = hashlib.blake2s(_normal(problem).encode(), digest_size=2).digest()[0] % 32
    return "dev" if bucket == 0 else "heldout" if bucket == 1 else "train"


def _stream(rng: random.Random) -> Iterator[str]:
    while True:
        tree, _ = _grow(rng, rng.randint(*_OPERATIONS))
        text = _render(tree)
        if len(STEP_END.join(_steps(tree))) <= _LONGEST:
            yield text


def _grow(rng: random.Random, operations: int) -> tuple[Expression, int]:
    """Return a random expression and its value; no intermediate value is negative or too large."""
    if operations == 0:
        digits = rng.choices((1, 2, 3), (5, 5, 1))[0]
        value = rng.randint(10 ** (digits - 1), 10**digits - 1)
        return value, value
    on_left = rng.randrange(operations)
    left, a = _grow(rng, on_left)
    right, b = _grow(rng, operations - 1 - on_left)
    symbols = [s for s in "++--**" if s != "*" or 0 < a * b <= _LARGEST]
    symbol = rng.choice(symbols)
    if symbol == "-" and a < b:
        left, a, right, b = right, b, left, a
    if symbol == "+" and a + b > _LARGEST:
        symbol, left, a, right, b = "-", *((left, a, right, b) if a >= b else (right, b, left, a))
    return Operation(symbol, left, right), _apply(symbol, a, b)


# --- solutions --------------------------------------------------------------------------------


def true_answer(problem: str) -> int:
    """Return the value of `problem`.

    >>> true_answer("2*(3+4)")
    14
    """
    return _value(parse(problem))


def solution(problem: str) -> str:
    """Return the one right solution: its steps joined by a blank line, the answer last.

    Raises:
        ValueError: `problem` is no expression of the task, or a difference in it is negative.
    """
    return STEP_END.join(solution_steps(problem))


def solution_steps(problem: str) -> list[str]:
    """Return the steps of `solution(problem)`."""
    return list(_steps(parse(problem)))


def check_steps(problem: str, response: str) -> list[bool]:
    """Return for each step of `response` whether it and all steps before it are right.

    A step that was cut off in the middle is not right.

    >>> check_steps("2+3*4", "3*4:12=12;2+12\\n\\n2+12:5,1=15\\n\\nanswer:15")
    [True, False, False]
    """
    steps = response.removesuffix(STEP_END).split(STEP_END) if response else []
    right = solution_steps(problem)
    labels = []
    correct = True
    for index, step in enumerate(steps):
        correct = correct and index < len(right) and step == right[index]
        labels.append(correct)
    return labels


def extract_answer(response: str) -> int | None:
    """Return the answer that `response` ends with, or None.

    >>> extract_answer("2+3:5=5\\n\\nanswer:5")
    5
    """
    match = ANSWER.search(response)
    return int(match[1]) if match else None


def parse(problem: str) -> Expression:
    """Return the expression tree of `problem`; spaces do not matter.

    Raises:
        ValueError: `problem` holds anything but whole numbers, `+`, `-`, `*` and parentheses.
    """
    try:
        return _tree(ast.parse(_normal(problem), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"not an expression of the tiny task: {problem!r}") from error


def _normal(problem: str) -> str:
    return "".join(problem.split())


def _tree(node: ast.expr) -> Expression:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SYMBOLS:
            return Operation(_SYMBOLS[type(op)], _tree(left), _tree(right))
    raise ValueError(f"not an expression of the tiny task: {ast.unparse(node)!r}")


def _value(tree: Expression) -> int:
    if isinstance(tree, int):
        return tree
    return _apply(tree.symbol, _value(tree.left), _value(tree.right))


def _apply(symbol: str, a: int, b: int) -> int:
    return a + b if symbol == "+" else a - b if symbol == "-" else a * b


def _render(tree: Expression) -> str:
    """Write `tree` with the parentheses that keep its shape."""
    if isinstance(tree, int):
        return str(tree)
    level = _PRECEDENCE[tree.symbol]
    left, right = _render(tree.left), _render(tree.right)
    if isinstance(tree.left, Operation) and _PRECEDENCE[tree.left.symbol] < level:
        left = f"({left})"
    if isinstance(tree.right, Operation) and _PRECEDENCE[tree.right.symbol] <= level:
        right = f"({right})"
    return f"{left}{tree.symbol}{right}"


def _steps(tree: Expression) -> Iterator[str]:
    while isinstance(tree, Operation):
        work, tree = _reduce(tree)
        yield f"{work};{_render(tree)}" if isinstance(tree, Operation) else work
    yield f"answer:{tree}"


def _reduce(tree: Operation) -> tuple[str, Expression]:
    """Carry out the leftmost operation on two numbers: its written work, and what is left."""
    if isinstance(tree.left, Operation):
        work, left = _reduce(tree.left)
        return work, Operation(tree.symbol, left, tree.right)
    if isinstance(tree.right, Operation):
        work, right = _reduce(tree.right)
        return work, Operation(tree.symbol, tree.left, right)
    write = {"+": _add, "-": _subtract, "*": _multiply}[tree.symbol]
    return write(tree.left, tree.right), _apply(tree.symbol, tree.left, tree.right)


# --- written work: columns run from the last digit to the first -------------------------------


def _digits(number: int, width: int = 1) -> list[int]:
    return [int(c) for c in reversed(str(number).zfill(width))]


def _add(a: int, b: int) -> str:
    width = max(len(str(a)), len(str(b)))
    columns, carry = [], 0
    for x, y in zip(_digits(a, width), _digits(b, width), strict=True):
        total = x + y + carry
        columns.append(str(total))
        carry = total // 10
    return f"{a}+{b}:{','.join(columns)}={a + b}"


def _subtract(a: int, b: int) -> str:
    if a < b:
        raise ValueError(f"{a}-{b} is negative; the tiny task has no negative numbers")
    columns, borrow = [], 0
    for x, y in zip(_digits(a), _digits(b, len(str(a))), strict=True):
        rest = x - y - borrow
        borrow = int(rest < 0)
        columns.append(f"{rest + 10}b" if borrow else str(rest))
    return f"{a}-{b}:{','.join(columns)}={a - b}"


def _multiply(a: int, b: int) -> str:
    """One row of columns per digit of the shorter number, then the running sum of the rows."""
    long, short = (a, b) if len(str(a)) >= len(str(b)) else (b, a)
    if short < 10:
        return f"{a}*{b}:{_row(long, short)}={a * b}"
    work, total = [f"{a}*{b}"], 0
    for place, digit in enumerate(_digits(short)):
        if digit:
            part = digit * 10**place
            work.append(f"{long}*{part}:{_row(long, digit)}={long * part}")
            if total:
                work.append(_add(total, long * part))
            total += long * part
    return "/".join(work)


def _row(number: int, digit: int) -> str:
    columns, carry = [], 0
    for x in _digits(number):
        total = x * digit + carry
        columns.append(str(total))
        carry = total // 10
    return ",".join(columns)
