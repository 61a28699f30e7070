"""SGLang's command line, with what this machine needs."""

import argparse
from collections.abc import Sequence

from . import cpu


def with_defaults(argv: list[str], verifier_path: str | None) -> list[str]:
    """Add what this machine needs, unless the user has said otherwise."""
    on_cpu = cpu.prepare(model_path(argv), verifier_path)
    defaults = {"page_size": 1} | (cpu.server_args() if on_cpu else {})
    given = {arg.split("=", 1)[0] for arg in argv}
    extra = []
    for name, value in defaults.items():
        flag = "--" + name.replace("_", "-")
        if flag not in given and value is not False:
            extra += [flag] if value is True else [flag, str(value)]
    return argv + extra


def model_path(argv: Sequence[str]) -> str | None:
    """The generator's path, ahead of SGLang's own parsing, which takes an import of SGLang."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--model-path", "--model")
    path: str | None = parser.parse_known_args(list(argv))[0].model_path
    return path
