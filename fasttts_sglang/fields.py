"""One declaration per option: name, type, default, bounds and help.

`SearchParams` and `FastTTSConfig` are plain frozen dataclasses whose fields are made by `option`.
Flags, JSON parsing, validation and the README's tables are all generated from them.
"""

import argparse
import math
from collections.abc import Iterable
from dataclasses import MISSING, Field, field, fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    gt: float | None = None,
    choices: Iterable[str] = (),
) -> Any:
    """Declare a field. `ge`, `le` and `gt` bound a number, or the length of a text or list."""
    metadata = {"help": help, "ge": ge, "le": le, "gt": gt, "choices": tuple(choices)}
    return field(default=default, metadata=metadata)


def problem(declared: Field[Any], kind: Any, value: Any) -> str | None:
    """What is wrong with `value` for this field, or None."""
    optional, base = _unwrap(kind)
    if value is None and optional:
        return None
    if get_origin(base) is tuple:
        item = get_args(base)[0]
        if not isinstance(value, tuple) or not all(_is_a(entry, item) for entry in value):
            return f"must be a list of {_NAMES[item]}, got {value!r}"
        return _out_of_bounds(declared, len(value), "its length")
    if not _is_a(value, base):
        return f"must be {_NAMES[base]}{' or null' if optional else ''}, got {value!r}"
    choices = declared.metadata["choices"]
    if choices and value not in choices:
        return f"must be one of {', '.join(choices)}, got {value!r}"
    if base is str or base is bool:
        return None
    return _out_of_bounds(declared, value, "it")


def types(owner: type) -> dict[str, Any]:
    """Field types by name, evaluated."""
    return get_type_hints(owner)


def add_arguments(parser: Any, owner: type, prefix: str = "--") -> None:
    """Add one flag per field. A flag that is not given leaves None."""
    hints = types(owner)
    for declared in fields(owner):
        name = prefix + declared.name.replace("_", "-")
        _, base = _unwrap(hints[declared.name])
        help_text = f"{declared.metadata['help']} Default: {_shown(declared)}."
        help_text = help_text.replace("%", "%%")
        if base is bool:
            parser.add_argument(
                name, dest=declared.name, action=argparse.BooleanOptionalAction, help=help_text
            )
        elif get_origin(base) is tuple:
            kind = get_args(base)[0]
            parser.add_argument(name, dest=declared.name, nargs="*", type=kind, help=help_text)
        else:
            parser.add_argument(name, dest=declared.name, type=base, help=help_text)


def table(owner: type, prefix: str = "--") -> str:
    """A markdown table of the fields."""
    lines = ["| name | default | bounds | meaning |", "|---|---|---|---|"]
    for declared in fields(owner):
        name = prefix + (declared.name.replace("_", "-") if prefix else declared.name)
        cells = (f"`{name}`", f"`{_shown(declared)}`", bounds(declared), declared.metadata["help"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def bounds(declared: Field[Any]) -> str:
    """The field's bounds as text, empty if it has none."""
    meta = declared.metadata
    if meta["choices"]:
        return ", ".join(meta["choices"])
    if meta["gt"] is not None:
        return f"({meta['gt']}, {meta['le']}]"
    if meta["ge"] is None:
        return ""
    return f">= {meta['ge']}" if meta["le"] is None else f"[{meta['ge']}, {meta['le']}]"


_NAMES = {int: "an integer", float: "a finite number", str: "text", bool: "true or false"}


def _unwrap(kind: Any) -> tuple[bool, Any]:
    """(may be None, the type itself)."""
    if isinstance(kind, UnionType):
        inner = [arg for arg in get_args(kind) if arg is not NoneType]
        return True, inner[0]
    return False, kind


def _is_a(value: Any, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False  # True is an int to Python, not to our users
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)


def _out_of_bounds(declared: Field[Any], value: float, what: str) -> str | None:
    meta = declared.metadata
    low, high, above = meta["ge"], meta["le"], meta["gt"]
    inside = (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
    )
    return None if inside else f"{what} must be in {bounds(declared)}, got {value}"


def _shown(declared: Field[Any]) -> str:
    default = declared.default
    if default is MISSING or default is None or default == "":
        return "none"
    if isinstance(default, tuple):
        return " ".join(map(repr, default)) or "none"
    return str(default)
