"""SGLang's own commands with our flags: `sglang serve`, `python -m sglang.launch_server`."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..config import ENV, split_argv
from ..errors import FastTTSError
from . import arguments, launch
from .hook import Hook, HookType, verify


@contextmanager
def refusals() -> Iterator[None]:
    """A wrong flag ends with exit status 2; SGLang would log the error and serve without us."""
    try:
        yield
    except FastTTSError as exc:
        print(f"fasttts: {exc}", file=sys.stderr)
        raise SystemExit(2) from exc


def enable(argv: Sequence[str]) -> None:
    """Publish the configuration of this command line to this process and its children."""
    with refusals():
        config, _ = split_argv(argv)
        os.environ[ENV] = config.to_env()


def take_flags(argv: list[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """BEFORE prepare_server_args: SGLang's parser sees its own flags only."""
    with refusals():
        config, rest = split_argv(argv)
        config.check_verifier(arguments.model_path(rest))
        config.register_algorithms()
        return (arguments.with_defaults(rest, config.verifier_path or None),), {}


def own_children(
    server_args: Any, *args: Any, **kwargs: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """BEFORE http_server.launch_server: the child processes load our plugin for certain."""
    with refusals():
        launch.check_arguments(server_args)
        verify(launch.server_hooks() + HOOKS)
    return (server_args, *args), {**launch.children(), **kwargs}


HOOKS = (
    Hook(
        "sglang.srt.server_args.prepare_server_args",
        ("argv",),
        HookType.BEFORE,
        take_flags,
        "take our flags off SGLang's command line",
    ),
    Hook(
        "sglang.srt.entrypoints.http_server.launch_server",
        ("server_args", "run_scheduler_process_func", "run_detokenizer_process_func"),
        HookType.BEFORE,
        own_children,
        "start schedulers that have our hooks",
    ),
)
