"""Verifier-guided test-time search inside SGLang. Public names load lazily."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import FastTTSConfig
    from .engine import FastTTSEngine
    from .errors import BadRequest, ConfigError, FastTTSError, IncompatibleSGLang, SearchFailed
    from .search.params import SearchParams
    from .search.result import SearchResult

__version__ = "0.1.0"

_HOME = {
    "BadRequest": ".errors",
    "ConfigError": ".errors",
    "FastTTSConfig": ".config",
    "FastTTSEngine": ".engine",
    "FastTTSError": ".errors",
    "IncompatibleSGLang": ".errors",
    "SearchFailed": ".errors",
    "SearchParams": ".search.params",
    "SearchResult": ".search.result",
}

__all__ = [
    "BadRequest",
    "ConfigError",
    "FastTTSConfig",
    "FastTTSEngine",
    "FastTTSError",
    "IncompatibleSGLang",
    "SearchFailed",
    "SearchParams",
    "SearchResult",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
