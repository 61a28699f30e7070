"""One touch point with SGLang: what we patch or use, and a check that it still fits."""

import inspect
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

from ..errors import IncompatibleSGLang

__all__ = ["Hook", "HookType", "Use", "check", "install", "verify"]


@dataclass(frozen=True, slots=True)
class Hook:
    """One patched SGLang function, the parameters we rely on, and why we need it."""

    target: str
    needs: tuple[str, ...]
    kind: HookType
    fn: Callable[..., Any]
    why: str

    def check(self) -> None:
        """Raise IncompatibleSGLang unless the target exists and takes what we need."""
        _check_parameters(self.target, self.needs)

    def applied(self) -> bool:
        """Whether calling the target now reaches our function."""
        layer: Any = pkgutil.resolve_name(self.target)
        while layer is not None:
            cells = [cell.cell_contents for cell in getattr(layer, "__closure__", None) or ()]
            if self.fn in cells:
                return True
            layer = getattr(layer, "__wrapped__", None)
        return False


@dataclass(frozen=True, slots=True)
class Use:
    """A private name of SGLang that we use as it is.

    Args:
        needs: Parameters of a function that we rely on, or the type of a value.
    """

    target: str
    needs: tuple[str, ...] | type
    why: str

    def check(self) -> None:
        """Raise IncompatibleSGLang unless the target exists and is what we take it for."""
        if isinstance(self.needs, tuple):
            _check_parameters(self.target, self.needs)
        elif not isinstance(found := _resolve(self.target), self.needs):
            kinds = f"{self.needs.__name__} but {type(found).__name__}"
            raise IncompatibleSGLang(f"{self.target} is no longer {kinds}")


def check(rows: "Iterable[Hook | Use]") -> None:
    """Check every row before any is installed, so that a refusal leaves SGLang untouched."""
    for row in rows:
        row.check()


def _check_parameters(target: str, needs: Iterable[str]) -> None:
    params = inspect.signature(inspect.unwrap(_resolve(target))).parameters
    if missing := set(needs) - set(params):
        raise IncompatibleSGLang(f"{target} no longer takes {sorted(missing)}")


def _resolve(target: str) -> Any:
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError) as exc:
        raise IncompatibleSGLang(f"{target} is not in this SGLang") from exc


_installed: set[Hook] = set()


def install(hooks: Iterable[Hook]) -> None:
    """Check and register `hooks`, each once per process however often it is asked for.

    Raises:
        IncompatibleSGLang: A target is gone or has changed.
    """
    new = [hook for hook in hooks if hook not in _installed]
    check(new)
    for hook in new:
        _installed.add(hook)
        HookRegistry.register(hook.target, hook.fn, hook.kind)


def verify(hooks: Iterable[Hook]) -> None:
    """Raise IncompatibleSGLang unless SGLang really applied `hooks`; it only logs a failure."""
    if lost := [hook.target for hook in hooks if not hook.applied()]:
        raise IncompatibleSGLang(f"SGLang did not apply our hooks on {', '.join(lost)}")
