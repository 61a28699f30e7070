"""The page: one HTML file with its data, style and script inside.

Texts of a search are written by models. They are embedded as JSON, put on the page as text nodes
only, and the page's content security policy allows no script but its own.
"""

import base64
import hashlib
import html
import json
from importlib.resources import files

from ..search.result import SearchResult
from .view import view

_SCRIPTS = ("dom.js", "summary.js", "tree.js", "slots.js", "main.js")


def page(result: SearchResult) -> str:
    """The report on `result` as HTML.

    Raises:
        ConfigError: The result has no tree.
    """
    style = _asset("page.css")
    script = '"use strict";\n' + "".join(map(_asset, _SCRIPTS))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    shown = view(result)
    parts = {
        "POLICY": policy,
        "TITLE": html.escape(shown["problem"] or result.id),
        "ANSWER": html.escape(shown["answer"] or "none"),
        "STYLE": style,
        "DATA": json.dumps(shown, allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    pieces = _asset("page.html").split("@@")  # text and names in turn
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
