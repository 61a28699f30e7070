"""`fasttts report`, and the files that `fasttts solve` leaves beside its answer."""

import json
import sys
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..search.result import SearchResult
from .page import page
from .trace import trace


def report(source: str, *, out: Path | None, trace_out: Path | None) -> int:
    """Read a result and draw it.

    Args:
        source: What `fasttts solve --json` printed, as a file; `-` reads standard input.
        out: The page; None puts it beside `source`, unless only a trace is wanted.
        trace_out: The trace; None for none.

    Raises:
        ConfigError: The file is no result, has no tree, or cannot be written.
    """
    if out is None and trace_out is None:
        if source == "-":
            raise ConfigError("-o: where should the page go? standard input has no name")
        out = Path(source).with_suffix(".html")
    result = read(source)
    try:
        write(result, page_out=out, trace_out=trace_out)
    except ConfigError as exc:
        raise ConfigError(f"{source}: {exc}") from exc
    for path in (out, trace_out):
        if path is not None:
            print(path)
    return 0


def check_writable(**outputs: Path | None) -> None:
    """Find out before a search whether its files will have a place.

    Raises:
        ConfigError: A directory is missing; the message names the flag.
    """
    for name, path in outputs.items():
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"--{name}: {str(path.parent)!r} is no directory")


def read(source: str) -> SearchResult:
    """A result from its JSON form.

    Raises:
        ConfigError: There is no such file, or it holds no result; the message says what is wrong.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        raw: Any = json.loads(text)
    except OSError as exc:
        raise ConfigError(f"{source}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError(f"{source}: not JSON: {exc}") from exc
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: is no search result, but {type(raw).__name__}")
    try:
        return SearchResult.from_dict(raw)
    except KeyError as exc:
        raise ConfigError(f"{source}: is no search result: {exc} is missing") from exc
    except (TypeError, ValueError, IndexError) as exc:
        raise ConfigError(f"{source}: is no search result: {exc}") from exc


def write(result: SearchResult, *, page_out: Path | None, trace_out: Path | None) -> None:
    """Write the pictures that are wanted.

    Raises:
        ConfigError: The result has no tree, or a file cannot be written.
    """
    if page_out is not None:
        _write(page_out, page(result))
    if trace_out is not None:
        _write(trace_out, json.dumps(trace(result)))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8", errors="xmlcharrefreplace")
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
