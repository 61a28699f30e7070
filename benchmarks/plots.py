"""Pictures of a comparison. Needs the extra `bench` (matplotlib)."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from fasttts_sglang import SearchResult
from fasttts_sglang.telemetry.timeline import lanes, parts

from .measures import STOCK, Measures

# asked for; decoded ahead and used; decoded ahead for nothing
_COLOURS = {"normal": "#4477aa", "kept": "#228833", "wasted": "#ee6677"}

_STOCK_COLOUR = "#777777"

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
        ticks = sorted({row.n for row in rows})
        panel.set_xticks(ticks, [str(n) for n in ticks], minor=False)
    panels[0].legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def ablation(rows: Sequence[Measures], path: Path) -> None:
    """Write the latency of every system as bars, grouped by n: medians, lines for the range.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    widths = sorted({row.n for row in rows})
    systems = list(dict.fromkeys(row.system for row in rows))
    size = (2 + 0.7 * len(widths) * len(systems), 4)
    figure, panels = pyplot.subplots(1, len(widths), figsize=size, layout="constrained")
    for panel, n in zip([panels] if len(widths) == 1 else panels, widths, strict=True):
        for place, system in enumerate(systems):
            part = [row.latency_s for row in rows if (row.system, row.n) == (system, n)]
            if not part:
                continue
            middle = statistics.median(part)
            around = [[middle - min(part)], [max(part) - middle]]
            colour = _STOCK_COLOUR if system.startswith(STOCK) else _COLOURS["normal"]
            panel.bar(place, middle, yerr=around, capsize=3, color=colour)
            panel.annotate(f"{middle:.3g}", (place, 0), ha="center", va="bottom", color="white")
        panel.set_xticks(range(len(systems)), systems, rotation=30, ha="right")
        panel.set(title=f"n={n}", ylabel="latency of a search, s")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def slots(searches: Sequence[tuple[str, SearchResult]], width: int, path: Path) -> None:
    """Write what each decode slot did over time: one panel per search, white where it was idle.

    Args:
        searches: Titles and results; the results must have a timeline.
        width: Number of slots, the n of the searches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    size = (9, 1 + 2.2 * len(searches))
    figure, panels = pyplot.subplots(
        len(searches), 1, figsize=size, layout="constrained", sharex=True, squeeze=False
    )
    for panel, (title, result) in zip(panels[:, 0], searches, strict=True):
        for lane, spans in enumerate(lanes(result.timeline)):
            for part in (part for span in spans for part in parts(span)):
                bar = [(part.begin_s, part.end_s - part.begin_s)]
                panel.broken_barh(bar, (lane, 1), facecolors=_COLOURS[part.kind], linewidth=0)
        panel.set(title=f"{title}: {result.timing['total_s']:.2f} s", ylabel="slot")
        panel.set(ylim=(0, width), xlim=(0, None))
    panels[-1, 0].set_xlabel("seconds")
    legend = [Patch(color=colour, label=kind) for kind, colour in _COLOURS.items()]
    figure.legend(handles=legend, loc="outside upper right", ncols=len(legend))
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
