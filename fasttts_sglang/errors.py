"""Errors raised on purpose.

FastTTSError
 |- ConfigError          a flag or server option is wrong
 |- BadRequest           a field of one search is wrong (HTTP 400)
 |- IncompatibleSGLang   the installed SGLang lacks something we hook
 |- InsufficientMemory   a plan or a search can never fit
 |- SearchFailed         a search ended without a result
"""


class FastTTSError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(FastTTSError, ValueError):
    """A server option is missing, unknown or out of range; the message names the flag."""


class BadRequest(FastTTSError, ValueError):
    """A field of a search is unknown or out of range; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.reason = message


class IncompatibleSGLang(FastTTSError):
    """The installed SGLang lacks something we hook."""


class InsufficientMemory(FastTTSError):
    """A plan does not fit; `missing` is the shortfall in bytes."""

    def __init__(self, message: str, *, missing: int) -> None:
        super().__init__(message)
        self.missing = missing


class SearchFailed(FastTTSError):
    """A search ended without a result: cancelled, out of memory, or a broken verifier."""
