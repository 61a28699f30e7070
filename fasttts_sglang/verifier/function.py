"""A user's Python function as the verifier."""

from collections.abc import Callable, Sequence
from importlib import import_module

from ..errors import ConfigError

Function = Callable[[str, Sequence[str]], float]
"""The problem and the texts of the steps so far, to the score of the last one, in [0, 1]."""


def load(name: str) -> Function:
    """Import the function `module:name`.

    Raises:
        ConfigError: There is no such function.
    """
    module, colon, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute) if colon else None
    except Exception as exc:  # a module may raise what it likes
        raise ConfigError(f"--fasttts-verifier-function {name}: {exc}") from exc
    if not callable(found):
        raise ConfigError(f"--fasttts-verifier-function {name} names no function module:name")
    function: Function = found
    return function
