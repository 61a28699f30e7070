"""The verifier's server args, published while its code runs: SGLang reads them globally."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sglang.srt.runtime_context import get_context


class OwnConfig:
    """Enter `published` to let SGLang read `args`, which are not changed any more.

    What SGLang makes of them is kept: making it takes 2 ms, each time its own context manager is
    entered, and the verifier enters it twice per forward.
    """

    def __init__(self, args: Any) -> None:
        self._context = get_context()
        with self._context.preserve_config():
            self._context.set_server_args(args)
            self._own = self._now()

    @contextmanager
    def published(self) -> Iterator[None]:
        """Publish them; on exit what was published before is again."""
        others = self._now()
        self._publish(self._own)
        try:
            yield
        finally:
            self._publish(others)

    def _now(self) -> tuple[Any, ...]:
        context = self._context
        return (
            context._server_args,
            context._config_bags,
            context._overrides_log,
            context._publish_role,
            context.parallel._config,
            context.flags.capture.enable_torch_compile,
        )

    def _publish(self, values: tuple[Any, ...]) -> None:
        context = self._context
        (
            context._server_args,
            context._config_bags,
            context._overrides_log,
            context._publish_role,
            context.parallel._config,
            context.flags.capture.enable_torch_compile,
        ) = values
