"""What the scheduler's thread does during searches: its stack, sampled, as a tree of calls.

    python -m benchmarks.host_profile --n 64
    python -m benchmarks.host_profile --pair 1.5b+1.5b --n 256 --out host.md
    python -m benchmarks.host_profile --pair 1.5b+7b --n 512 --kv-gib 5.56 --share 0.7  # 24 GB

A timer interrupts the thread every half millisecond, and Python notes where it stands: in the call
that has just returned, so time in C is counted too. That costs some percent of the thread's time.
Waiting for the device is `Event.synchronize`; on a CPU the models run on this thread.
"""

import argparse
import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .environment import describe
from .setting import BRANCH, of_pair
from .shapes import PAIRS

FOLDER = "FASTTTS_HOST_PROFILE"  # where the scheduler process leaves its samples
_PERIOD_S = 0.0005
_DULL = ("wrapper", "_call_impl", "_wrapped_call_impl", "decorate_context")


@dataclass(slots=True)
class Calls:
    """How often a function, called from where it is in the tree, was on the stack."""

    count: int = 0
    below: dict[str, "Calls"] = field(default_factory=dict)

    def add(self, names: Sequence[str], count: int) -> None:
        """Samples with these functions on the stack, outermost first."""
        node = self
        node.count += count
        for name in names:
            node = node.below.setdefault(name, Calls())
            node.count += count

    def lines(self, least: float, total: int, depth: int = 0) -> Iterator[str]:
        """Shares in percent, the largest first, without those under `least`.

        >>> calls = Calls()
        >>> calls.add(["step", "score"], 3)
        >>> calls.add(["step"], 1)
        >>> list(calls.lines(50, 4))
        [' 100.0 step', '    75.0 score']
        """
        for name, node in sorted(self.below.items(), key=lambda item: -item[1].count):
            share = 100 * node.count / total
            if share >= least:
                yield f"{'  ' * depth}{share:6.1f} {name}"
                yield from node.lines(least, total, depth + 1)


def watch(*_: Any) -> Any:
    """Named as an algorithm, so that the scheduler's process imports this module."""
    raise NotImplementedError


def _install(folder: Path) -> None:
    """Sample this process while it has a search."""
    from fasttts_sglang.runtime.search_runner import SearchRunner

    begin, close = SearchRunner._begin, SearchRunner._close
    stacks: Counter[tuple[str, ...]] = Counter()

    def note(_signal: int, frame: Any) -> None:
        names = []
        while frame is not None:
            names.append(frame.f_code.co_qualname)
            frame = frame.f_back
        stacks[tuple(reversed(names))] += 1

    def started(self: Any, search: Any) -> None:
        stacks.clear()
        signal.setitimer(signal.ITIMER_REAL, _PERIOD_S, _PERIOD_S)
        begin(self, search)

    def closed(self: Any, search: Any, outcome: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        found = [[*names, count] for names, count in stacks.items()]
        (folder / f"{search.rid}.json").write_text(json.dumps(found))
        close(self, search, outcome)

    signal.signal(signal.SIGALRM, note)
    signal.siginterrupt(signal.SIGALRM, False)
    SearchRunner._begin = started  # type: ignore[method-assign]
    SearchRunner._close = closed  # type: ignore[method-assign]


def read(path: Path) -> Calls:
    """The samples of one search, from the scheduler's loop on."""
    calls = Calls()
    for *names, count in json.loads(path.read_text()):
        loops = [index for index, name in enumerate(names) if ".event_loop" in name]
        inner = names[loops[0] + 1 :] if loops else names
        calls.add([name for name in inner if not name.endswith(_DULL)], count)
    return calls


def main() -> None:
    """Search, print the tree of the last one, and write it to --out."""
    import torch

    from fasttts_sglang import SearchParams

    from .options import check_share
    from .systems import Ours

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", default="tiny", choices=["tiny", *PAIRS])
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--kv-gib", type=float, help="KV of both models together; default: ample")
    parser.add_argument("--share", type=float, default=0.5, help="the verifier's part of it")
    parser.add_argument("--least", type=float, default=0.5, help="percent of the samples")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.kv_gib is not None and args.pair == "tiny":
        parser.error("--kv-gib: the tiny pair is no size that memory could limit")
    check_share(parser, "--share", args.share)
    setting = of_pair(args.pair, args.n, args.kv_gib, gpu=torch.cuda.is_available())
    params = SearchParams(n=args.n, branch=BRANCH, temperature=1.0, stop=(), speculation="full")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[FOLDER] = name
        changes = {"algorithms": (f"watch={__package__}.host_profile:watch",)}
        ours = Ours(setting, args.share, changes, folder)
        for seed in (1, 2):  # the first warms up
            ours.engine.flush_cache()
            prompt = [5 + (seed + i * i) % 90 for i in range(setting.prompt_tokens)]
            result, seconds = ours.search(prompt, params.replace(seed=seed))
        latest = max(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        calls = read(latest)
    steps = result.timing["decode_steps"]
    head = (
        f"{setting.name}, n={args.n}: {seconds:.3g} s, {steps:.0f} decode steps,"
        f" {calls.count} samples"
    )
    text = "\n".join([head, "", *calls.lines(args.least, calls.count)])
    print(text, flush=True)
    if args.out:
        env = describe()
        args.out.write_text(
            f"# Host profile\n\n    {env['command']}\n\n{env['device']}.\n\n```\n{text}\n```\n"
        )
    os._exit(0)  # nothing to save, and an engine takes seconds to shut down


if FOLDER in os.environ and __name__.endswith("host_profile"):  # not as a child's `__mp_main__`
    _install(Path(os.environ[FOLDER]))

if __name__ == "__main__":
    main()
