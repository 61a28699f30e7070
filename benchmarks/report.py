"""The page that a run writes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import real_task
from .environment import describe
from .measures import Measures, table
from .setting import Setting


def page(
    setting: Setting, rows: Sequence[Measures], real: list[dict[str, Any]], best: float | None
) -> str:
    """The whole report.

    Args:
        real: Records of the real task, with the tiny pair.
        best: The verifier's share with which the baseline was fastest, of those in the log.
    """
    env = describe()
    versions = ", ".join(f"{name} {env[name]}" for name in env if name not in ("command", "device"))
    searches = [row.to_dict() for row in rows]
    record = {"environment": env, "setting": repr(setting), "rows": searches, "real": real}
    sweep = (
        f"Best static split of the baseline: {100 * best:.3g} % for the verifier.\n\n"
        if best
        else ""
    )
    return (
        f"# Replay: {setting.name}\n\n    {env['command']}\n\n"
        f"{env['device']}; {versions}. Median (range) over seeds; the systems alternate, caches are"
        f" cold, both return the same candidates.\n\n{table(rows)}\n\n{sweep}"
        f"{real_task.table(real)}\n\n```json\n{json.dumps(record)}\n```\n"
    )


def draw(plot: Callable[..., None], *args: Any) -> None:
    """Write a picture beside the report, if matplotlib is there; the last of `args` is its path."""
    path: Path = args[-1]
    try:
        plot(*args)
    except ImportError:
        print(f"{path} not drawn: matplotlib is missing; install the extra `bench`")
