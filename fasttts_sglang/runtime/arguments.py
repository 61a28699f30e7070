"""SGLang's server args, with what this machine and searches need."""

import argparse
from collections.abc import Container, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import cpu

_BACKENDS = ("attention_backend", "prefill_attention_backend", "decode_attention_backend")


def defaults(named: Container[str], *, on_cpu: bool, cuda: bool) -> dict[str, Any]:
    """Server args that the user has not `named`.

    With SGLang's Triton attention backend rows read a prefix that they share once, and bursts of
    steps and the verifier's forwards are CUDA graphs, so on a GPU it is the default.
    """
    wanted: dict[str, Any] = {"page_size": 1}
    if on_cpu:
        wanted |= cpu.server_args()
    elif cuda and not any(name in named for name in _BACKENDS):
        wanted["attention_backend"] = "triton"
    return {name: value for name, value in wanted.items() if name not in named}


def for_this_machine(named: Container[str], *, on_cpu: bool) -> dict[str, Any]:
    """`defaults` here."""
    import torch

    return defaults(named, on_cpu=on_cpu, cuda=torch.cuda.is_available())


def with_defaults(argv: list[str], verifier_path: str | None) -> list[str]:
    """A command line with `defaults` added."""
    on_cpu = cpu.prepare(model_path(argv), verifier_path)
    extra = []
    for name, value in for_this_machine(given(argv), on_cpu=on_cpu).items():
        flag = "--" + name.replace("_", "-")
        if value is not False:
            extra += [flag] if value is True else [flag, str(value)]
    return argv + extra


def given(argv: Sequence[str]) -> set[str]:
    """Names of the server args on a command line, and in the file that its `--config` names."""
    names = {arg.split("=", 1)[0][2:] for arg in argv if arg.startswith("--")}
    if path := _value(argv, "--config"):
        import yaml  # SGLang reads the file with it, too, and says what is wrong with it

        with suppress(OSError, yaml.YAMLError, TypeError):
            names |= set(yaml.safe_load(Path(path).read_text()) or ())
    return {name.replace("-", "_") for name in names}


def model_path(argv: Sequence[str]) -> str | None:
    """The generator's path, ahead of SGLang's own parsing, which takes an import of SGLang."""
    return _value(argv, "--model-path", "--model")


def _value(argv: Sequence[str], *flags: str) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(*flags, dest="value")
    value: str | None = parser.parse_known_args(list(argv))[0].value
    return value
