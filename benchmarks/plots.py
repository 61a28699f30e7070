"""Pictures of a comparison. Needs the extra `bench` (matplotlib)."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from .measures import Measures

_PANELS = (
    ("latency_s", "latency of a search, s", "lower is better"),
    ("goodput", "goodput, tokens per beam per s", "higher is better"),
)


def over_width(rows: Sequence[Measures], path: Path) -> None:
    """Write latency and goodput over n as a PNG: the median of each system, bars for the range.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(_PANELS), figsize=(9, 3.6), layout="constrained")
    for panel, (name, label, direction) in zip(panels, _PANELS, strict=True):
        for system in dict.fromkeys(row.system for row in rows):
            widths, groups = _by_width(rows, system, name)
            middle = [statistics.median(group) for group in groups]
            below = [m - min(group) for m, group in zip(middle, groups, strict=True)]
            above = [max(group) - m for m, group in zip(middle, groups, strict=True)]
            panel.errorbar(widths, middle, (below, above), marker="o", capsize=3, label=system)
        panel.set(xlabel="beams n", ylabel=label, title=direction, ylim=(0, None))
        panel.set_xscale("log", base=2)
        panel.set_xticks(widths, [str(n) for n in widths], minor=False)
    panels[0].legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _by_width(
    rows: Sequence[Measures], system: str, name: str
) -> tuple[list[int], list[list[float]]]:
    widths = sorted({row.n for row in rows})
    groups = [
        [
            value
            for row in rows
            if (row.system, row.n) == (system, n) and (value := getattr(row, name)) is not None
        ]
        for n in widths
    ]
    found = [(n, group) for n, group in zip(widths, groups, strict=True) if group]
    return [n for n, _ in found], [group for _, group in found]
