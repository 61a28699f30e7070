"""python -m fasttts_sglang.launch_server: an SGLang server that also searches.

Takes every flag of `sglang.launch_server` and the `--fasttts-*` flags.
"""

import os
import sys
from collections.abc import Sequence

from .config import ENV, split_argv
from .errors import FastTTSError
from .runtime import arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, boot and serve until stopped. A wrong flag ends with exit status 2."""
    try:
        config, rest = split_argv(list(sys.argv[1:] if argv is None else argv))
        config.check_verifier(arguments.model_path(rest))
        config.register_algorithms()
        os.environ[ENV] = config.to_env()
        _serve(arguments.with_defaults(rest, config.verifier_path or None))
    except FastTTSError as exc:
        print(f"fasttts: {exc}", file=sys.stderr)
        raise SystemExit(2) from exc


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
