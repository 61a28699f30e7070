"""The command line of fasttts-bench."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fasttts_sglang.config import KV_FRACTIONS, FastTTSConfig
from fasttts_sglang.errors import ConfigError
from fasttts_sglang.search.params import SPECULATION

from .budget import left_on_card
from .setting import QUICK, Setting, shaped
from .shapes import PAIRS

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
HALF = 0.5


def parse(description: str | None, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked and filled in; a wrong one ends the process with a message."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="the tiny pair on a CPU")
    size.add_argument("--gpu", action="store_true", help="real shapes, random weights")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ablate", action="store_true", help="one switch of ours at a time")
    what.add_argument("--sweep", action="store_true", help="the baseline alone at each of --shares")
    parser.add_argument("--pair", default="1.5b+1.5b", choices=PAIRS, help="generator+verifier")
    parser.add_argument("--spec", default="{}", help="replay distribution (JSON), with --gpu")
    parser.add_argument("--widths", type=int, nargs="+", help="n of the searches")
    parser.add_argument("--seeds", type=int, default=5, help="searches per width and system")
    memory = parser.add_mutually_exclusive_group()
    memory.add_argument("--kv-gib", type=float, help="KV budget of both models; default: ample")
    memory.add_argument(
        "--gpu-gib", type=float, help="the same as what weights leave of such a card"
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=SHARES,
        help="splits that --sweep tries, and among which --log is searched for the best",
    )
    parser.add_argument(
        "--stock-share",
        type=float,
        nargs="+",
        help="the verifier's part in the baseline; the first alternates with ours; default: the"
        f" best of a sweep in --log, or else {HALF}",
    )
    parser.add_argument(
        "--our-share", type=float, help="its part with us; default: as in the first baseline"
    )
    parser.add_argument(
        "--planned-share",
        type=float,
        help="the split of a step of --ablate; default: what the planner chooses for the largest n",
    )
    parser.add_argument(
        "--modes", nargs="+", choices=SPECULATION, help="kinds of speculation to measure"
    )
    parser.add_argument(
        "--variant",
        type=_variant,
        nargs="+",
        default=[],
        metavar="NAME=JSON",
        help="also ours with these FastTTSConfig fields, as burst2='{\"decode_burst\": 2}'",
    )
    parser.add_argument(
        "--stock-attention",
        nargs="+",
        default=[],
        metavar="BACKEND",
        help="also the baseline with these attention backends, as flashinfer or fa3",
    )
    parser.add_argument("--out", type=Path, help="write the report here, and plots beside it")
    parser.add_argument("--log", type=Path, help="append every search here; go on where it ends")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument(
        "--together",
        type=int,
        default=1,
        help="processes whose engines stand side by side and search in turn; from 2 on the baseline"
        " and ours have one each",
    )
    parser.add_argument("--problems", type=int, default=4, help="of the real task, with --quick")
    parser.add_argument(
        "--timeline", type=int, metavar="N", help="with --out: draw the slots of a search with n=N"
    )
    parser.add_argument("--slice", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.quick and (args.kv_gib is not None or args.gpu_gib is not None):
        parser.error("--kv-gib: needs --gpu; the tiny pair is no size that memory could limit")
    if args.sweep and args.kv_gib is None and args.gpu_gib is None:
        parser.error("--sweep: needs --kv-gib or --gpu-gib, else there is nothing to split")
    for name in ("shares", "stock_share", "our_share", "planned_share"):
        value = getattr(args, name)
        for share in value if isinstance(value, Sequence) else [value]:
            check_share(parser, f"--{name.replace('_', '-')}", share)
    if args.gpu_gib is not None:
        try:
            generator, verifier = args.pair.split("+")
            args.kv_gib = left_on_card(generator, verifier, args.gpu_gib)
        except ValueError as exc:
            parser.error(f"--gpu-gib: {exc}")
    args.widths = args.widths or ([4, 16] if args.quick else [8, 64, 256])
    args.modes = args.modes or (["full"] if args.quick else list(SPECULATION))
    return args


def check_share(parser: argparse.ArgumentParser, flag: str, share: float | None) -> None:
    """End the process with a message if no verifier can have such a part of the KV memory."""
    low, high = KV_FRACTIONS
    if share is not None and not low <= share <= high:
        parser.error(f"{flag}: must be in [{low}, {high}], got {share}")


def _variant(text: str) -> tuple[str, dict[str, Any]]:
    """A name and fields of FastTTSConfig, checked before an engine boots for minutes."""
    name, equals, fields = text.partition("=")
    try:
        config = json.loads(fields) if name and equals else None
        if not isinstance(config, dict):
            raise ValueError("is not NAME={...}")
        FastTTSConfig(**config)
    except (ValueError, TypeError, ConfigError) as exc:
        raise argparse.ArgumentTypeError(f"{text}: {exc}") from exc
    return name, config


def setting(args: argparse.Namespace, *, gpu: bool) -> Setting:
    """What the arguments ask for."""
    if args.quick:
        return QUICK
    generator, verifier = args.pair.split("+")
    return shaped(generator, verifier, args.widths, args.spec, args.kv_gib, gpu=gpu)
