"""Server settings: `--fasttts-*` flags, and how they reach the child processes."""

import argparse
import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn, Self

from . import fields as declared
from .errors import BadRequest, ConfigError
from .fields import option
from .memory.sizes import parse_bytes
from .search.algorithms import register
from .search.params import SPECULATION, SearchParams
from .search.replay import ReplaySpec
from .verifier import function
from .verifier.families import AUTO, FAMILIES, family_for

ENV = "FASTTTS_CONFIG"
PREFIX = "--fasttts-"
OFF = "off"
KV_FRACTIONS = (0.01, 0.95)  # of `kv_split`


@dataclass(frozen=True, slots=True, kw_only=True)
class FastTTSConfig:
    """Settings of one engine, validated on construction.

    Raises:
        ConfigError: A value is of the wrong type or out of range; the message names the flag.

    Example:
        >>> FastTTSConfig(kv_split="2.0")
        Traceback (most recent call last):
        fasttts_sglang.errors.ConfigError: --fasttts-kv-split: must be auto or in [0.01, 0.95], \
got '2.0'
    """

    verifier_path: str = option(
        "", "Process reward model; without one only best-of-n with a majority vote can run."
    )
    prm_family: str = option(
        AUTO, "How to read it; auto goes by its architecture.", choices=(AUTO, *sorted(FAMILIES))
    )
    verifier_function: str = option(
        "", "A Python function module:name as the verifier, instead of a model."
    )
    kv_split: str = option(
        AUTO,
        "The verifier's fraction of the KV memory of both models, in [0.01, 0.95]; auto plans it.",
    )
    verifier_tokens: int | None = option(
        None, "The verifier's KV capacity in tokens, instead of a fraction.", ge=16, le=1 << 40
    )
    kv_resize: str = option(
        OFF,
        "Move KV memory between the models while the server runs, as searches need it: off, auto.",
        choices=(OFF, AUTO),
    )
    host_offload: str = option(
        OFF,
        "Copy KV that is evicted but still needed to host memory, and back: off, auto (where that"
        " is predicted to be faster than computing it again), or the most to hold there, as 8GiB.",
    )
    verifier_batch_tokens: int = option(
        16_384, "Tokens per forward of the verifier.", ge=1, le=1 << 30
    )
    verdict_tokens: int = option(512, "Longest verdict of a generative verifier.", ge=1, le=1 << 20)
    max_searches: int = option(64, "Searches that run at once; more wait.", ge=1, le=100_000)
    max_width: int = option(1024, "Largest n of a search.", ge=1, le=4096)
    score_cache_entries: int = option(
        1_000_000, "Step scores remembered across searches.", ge=1, le=1 << 40
    )
    speculation: str = option(
        "full",
        "What idle slots decode ahead where a search does not say: off, paper, full.",
        choices=SPECULATION,
    )
    decode_burst: int = option(
        4, "Decode steps of a batch of searches between two looks of the scheduler.", ge=1, le=64
    )
    prefix_order: bool = option(
        True, "Order admission, retraction and eviction by the search tree where memory is short."
    )
    shared_attention: bool = option(
        True,
        "Rows of a search read the KV of a prefix that they share once, where SGLang's Triton"
        " attention backend decodes (on a GPU, not in deterministic mode).",
    )
    algorithms: tuple[str, ...] = option(
        (), "Search algorithms of your own, each as name=module:function.", ge=0, le=64
    )
    default_search: str = option(
        "",
        "Search parameters (JSON) for OpenAI requests that give none, so that all are searches.",
    )
    replay: str = option(
        "", "Benchmarks only: step lengths and scores are drawn from this distribution (JSON)."
    )

    def __post_init__(self) -> None:
        hints = declared.types(type(self))
        for entry in fields(self):
            if text := declared.problem(entry, hints[entry.name], getattr(self, entry.name)):
                raise ConfigError(f"{flag_name(entry.name)}: {text}")
        if self.verifier_path and self.verifier_function:
            raise ConfigError(
                f"{PREFIX}verifier-path and {PREFIX}verifier-function: only one verifier can be"
            )
        self._check_kv_split()
        self.host_offload_bytes  # noqa: B018  raises
        if self.replay:
            ReplaySpec.from_json(self.replay)
        self._check_default_search()

    @property
    def default_params(self) -> dict[str, Any] | None:
        """`default_search`, parsed."""
        if not self.default_search:
            return None
        values: dict[str, Any] = json.loads(self.default_search)
        return values

    @property
    def verifier_fraction(self) -> float | None:
        """`kv_split` as a number; None if it is to be planned."""
        return None if self.kv_split == AUTO else float(self.kv_split)

    @property
    def host_offload_bytes(self) -> int | None:
        """The most that `host_offload` allows: 0 if it is off, None if it is to be planned."""
        if self.host_offload in (OFF, AUTO):
            return 0 if self.host_offload == OFF else None
        return parse_bytes(self.host_offload, flag_name("host_offload"))

    def _check_kv_split(self) -> None:
        low, high = KV_FRACTIONS
        try:
            fraction = self.verifier_fraction
            fits = fraction is None or low <= fraction <= high
        except ValueError:
            fits = False
        if not fits:
            name = flag_name("kv_split")
            raise ConfigError(
                f"{name}: must be {AUTO} or in [{low}, {high}], got {self.kv_split!r}"
            )

    def _check_default_search(self) -> None:
        name = flag_name("default_search")
        try:
            values = self.default_params
        except ValueError as exc:
            raise ConfigError(f"{name}: is not JSON: {exc}") from exc
        if values is None:
            return
        if not isinstance(values, dict):
            raise ConfigError(f"{name}: must be a JSON object, got {self.default_search}")
        try:
            params = SearchParams.from_dict(values)
        except BadRequest as exc:
            raise ConfigError(f"{name}: {exc}") from exc
        if params.n > self.max_width:
            limit = f"{flag_name('max_width')} {self.max_width}"
            raise ConfigError(f"{name}: n: {params.n} exceeds {limit}")

    def register_algorithms(self) -> None:
        """Make `algorithms` known in this process.

        Raises:
            ConfigError: One is written wrong, or cannot be imported.
        """
        for entry in self.algorithms:
            name, equals, target = entry.partition("=")
            if not (name and equals and target):
                raise ConfigError(f"{PREFIX}algorithms: {entry!r} is not name=module:function")
            register(name, target)

    def check_verifier(self, model_path: str | None = None) -> None:
        """Look at the checkpoints' configs, which takes no time, before SGLang boots.

        A name that is no local path may be a hub id; it is checked when it is loaded.

        Args:
            model_path: The generator, if known.

        Raises:
            ConfigError: The verifier's folder has no config, is no reward model we know, or must
                share the generator's vocabulary and does not; there is no such function; or the
                default search lacks its verifier.
        """
        if self.verifier_function:
            function.load(self.verifier_function)
        default = self.default_params
        if default is not None and not (self.verifier_path or self.verifier_function):
            params = SearchParams.from_dict(default)
            if not params.verifier_free:
                name = flag_name("default_search")
                raise ConfigError(f"{name}: {params.algorithm} needs {PREFIX}verifier-path")
        path = Path(self.verifier_path)
        looks_local = path.is_absolute() or self.verifier_path.startswith((".", "~"))
        if not self.verifier_path or (not path.exists() and not looks_local):
            return
        verifier = _read_config(path)
        if verifier is None:
            raise ConfigError(f"{PREFIX}verifier-path: {path} has no config.json")
        family = family_for(verifier, self.prm_family)
        generator = _read_config(Path(model_path)) if model_path else None
        if generator is not None and family.shares_tokens:
            check_vocabulary(generator.get("vocab_size"), verifier.get("vocab_size"))

    def replace(self, **changes: Any) -> Self:
        """A changed copy, validated again."""
        return replace(self, **changes)

    def to_env(self) -> str:
        """The form that travels to child processes in the environment variable ENV."""
        return json.dumps(asdict(self))

    @classmethod
    def from_env(cls) -> Self:
        """The configuration of this process, whose algorithms are then known in it."""
        raw = json.loads(os.environ[ENV])
        config = cls(**{**raw, "algorithms": tuple(raw["algorithms"])})
        config.register_algorithms()
        return config


def check_vocabulary(generator: int | None, verifier: int | None) -> None:
    """Raise ConfigError unless both vocabularies have the same size."""
    if generator != verifier:
        raise ConfigError(
            f"{PREFIX}verifier-path: the verifier's vocabulary has {verifier} entries, the"
            f" generator's {generator}; they must share one tokenizer"
        )


def _read_config(folder: Path) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        return config
    except (OSError, ValueError):
        return None


def flag_name(field: str) -> str:
    """The command line flag of a field."""
    return PREFIX + field.replace("_", "-")


def split_argv(argv: Sequence[str]) -> tuple[FastTTSConfig, list[str]]:
    """Take the `--fasttts-*` flags out of `argv`; return the configuration and the rest.

    Raises:
        ConfigError: A flag is misspelt, lacks its value, or has a wrong one.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    declared.add_arguments(parser, FastTTSConfig, PREFIX)
    given, rest = parser.parse_known_args(list(argv))
    known = [flag_name(entry.name) for entry in fields(FastTTSConfig)]
    for arg in rest:
        name = arg.split("=", 1)[0]
        if name.startswith(PREFIX) or name == PREFIX.rstrip("-"):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise ConfigError(f"{name} is no flag{hint}")
    values = {name: value for name, value in vars(given).items() if value is not None}
    return FastTTSConfig(**values), rest


def flag_table() -> str:
    """The flags as a markdown table, for the README."""
    return declared.table(FastTTSConfig, PREFIX)


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)
