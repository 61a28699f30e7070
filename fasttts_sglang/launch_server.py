"""python -m fasttts_sglang.launch_server: an SGLang server that also searches.

Takes every flag of `sglang.launch_server` and the `--fasttts-*` flags.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from .config import ENV, split_argv
from .errors import FastTTSError
from .runtime import cpu


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, boot and serve until stopped. A wrong flag ends with exit status 2."""
    try:
        config, rest = split_argv(list(sys.argv[1:] if argv is None else argv))
        config.check_verifier(_model_path(rest))
        config.register_algorithms()
        os.environ[ENV] = config.to_env()
        _serve(_with_defaults(rest, config.verifier_path or None))
    except FastTTSError as exc:
        print(f"fasttts: {exc}", file=sys.stderr)
        raise SystemExit(2) from exc


def _with_defaults(argv: list[str], verifier_path: str | None) -> list[str]:
    """Add what this machine needs, unless the user has said otherwise."""
    on_cpu = cpu.prepare(_model_path(argv), verifier_path)
    defaults = {"page_size": 1} | (cpu.server_args() if on_cpu else {})
    given = {arg.split("=", 1)[0] for arg in argv}
    extra = []
    for name, value in defaults.items():
        flag = "--" + name.replace("_", "-")
        if flag not in given and value is not False:
            extra += [flag] if value is True else [flag, str(value)]
    return argv + extra


def _model_path(argv: Sequence[str]) -> str | None:
    """The generator's path, ahead of SGLang's own parsing, which takes an import of SGLang."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--model-path", "--model")
    path: str | None = parser.parse_known_args(list(argv))[0].model_path
    return path


def _serve(argv: list[str]) -> None:
    from sglang.srt.plugins import load_plugins
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree

    from .runtime.launch import start_server

    load_plugins()
    try:
        start_server(prepare_server_args(argv))
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


if __name__ == "__main__":
    main()
