"""Which columns a report has, and which of them can share one boot of the engines. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .measures import STOCK, Measures


@dataclass(frozen=True, slots=True)
class Column:
    """One system as it is measured."""

    name: str
    params: Mapping[str, Any] | None = None  # SearchParams changes of ours; None: the baseline


@dataclass(frozen=True, slots=True)
class Slice:
    """What runs in one process: at most one stock pair and one engine of ours, in turn."""

    columns: tuple[Column, ...]
    share: float | None = None  # of the KV budget, for the stock verifier
    our_share: float | None = None  # likewise with us
    config: Mapping[str, Any] = field(default_factory=dict)  # FastTTSConfig changes of ours
    stock_attention: str | None = None  # the stock pair's attention backend; None: as with us

    @property
    def has_stock(self) -> bool:
        return any(column.params is None for column in self.columns)

    @property
    def has_ours(self) -> bool:
        return any(column.params is not None for column in self.columns)


@dataclass(frozen=True, slots=True)
class Switch:
    """One step of the ablation; what earlier steps switched on stays on."""

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)  # fields of FastTTSConfig
    params: Mapping[str, Any] = field(default_factory=dict)  # fields of SearchParams
    planned: bool = False  # from here on with the split that the planner chose


SWITCHES = (
    Switch("everything off", {"prefix_order": False, "kv_resize": "off"}, {"speculation": "off"}),
    Switch("+ prefix order", {"prefix_order": True}),
    Switch("+ planned split", planned=True),
    Switch("+ resizing", {"kv_resize": "auto"}),
    Switch("+ speculation paper", params={"speculation": "paper"}),
    Switch("+ speculation full", params={"speculation": "full"}),
)
"""A change of the configuration or of the split needs another boot, one of the parameters does
not."""


def stock_name(share: float | None) -> str:
    """A baseline's name in the report.

    >>> stock_name(None), stock_name(0.3)
    ('stock', 'stock, 30 % verifier')
    """
    return STOCK if share is None else f"{STOCK}, {100 * share:.3g} % verifier"


def sweep(shares: Sequence[float]) -> list[Slice]:
    """The baseline alone at several splits."""
    return [Slice((Column(stock_name(share)),), share) for share in shares]


def comparison(
    modes: Sequence[str],
    shares: Sequence[float | None],
    our_share: float | None,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    stock_attention: Sequence[str] = (),
) -> list[Slice]:
    """Ours beside the baseline at the first share; at the others the baseline alone.

    Args:
        variants: FastTTSConfig changes by name; each is measured too, in an engine of its own.
        stock_attention: Attention backends of further baselines, with the first share.
    """
    ours = [Column(our_name(mode), {"speculation": mode}) for mode in modes]
    first = Slice((Column(stock_name(shares[0])), *ours), shares[0], our_share)
    others = [
        Slice((Column(f"fasttts, {name}", {}),), None, our_share, config)
        for name, config in (variants or {}).items()
    ]
    name = stock_name(shares[0])
    others += [
        Slice((Column(f"{name}, {backend}"),), shares[0], stock_attention=backend)
        for backend in stock_attention
    ]
    return [first, *others, *sweep([share for share in shares[1:] if share is not None])]


def our_name(mode: str) -> str:
    """A column's name in a comparison: full speculation is the default."""
    return "fasttts" if mode == "full" else f"fasttts, speculation {mode}"


def ablation(
    share: float | None,
    our_share: float | None,
    planned_share: float | None,
    switches: Iterable[Switch] = SWITCHES,
) -> list[Slice]:
    """The baseline and one switch after the other; the baseline runs beside the first of ours.

    Args:
        share, our_share: The verifier's part of the KV budget, in the baseline and with us.
        planned_share: What the planner chose for it; None, as where memory is ample, leaves that
            switch out.

    >>> [c.name for part in ablation(0.3, 0.3, None, SWITCHES[:1]) for c in part.columns]
    ['stock, 30 % verifier', 'everything off']
    """
    config: dict[str, Any] = {}
    params: dict[str, Any] = {}
    slices: list[Slice] = []
    for switch in switches:
        if switch.planned and planned_share is None:
            continue
        config, params = {**config, **switch.config}, {**params, **switch.params}
        our_share = planned_share if switch.planned else our_share
        column = Column(switch.name, params)
        if slices and (slices[-1].config, slices[-1].our_share) == (config, our_share):
            slices[-1] = replace(slices[-1], columns=(*slices[-1].columns, column))
        else:
            slices.append(Slice((column,), None, our_share, config))
    beside = (Column(stock_name(share)), *slices[0].columns)
    return [replace(slices[0], columns=beside, share=share), *slices[1:]]


def apart(slices: Iterable[Slice]) -> list[Slice]:
    """The same columns with the baseline and ours in processes of their own, which boot at once."""
    parts = []
    for part in slices:
        stock = tuple(column for column in part.columns if column.params is None)
        ours = tuple(column for column in part.columns if column.params is not None)
        parts += [replace(part, columns=columns) for columns in (stock, ours) if columns]
    return parts


def best_share(rows: Iterable[Measures], shares: Sequence[float]) -> float | None:
    """The share of `shares` whose baseline was fastest; None: fewer than two were measured.

    The largest n that all measured shares have counts, by the mean over the seeds they all have.
    """
    taken: dict[float, dict[tuple[int, int], float]] = {}
    names = {stock_name(share): share for share in shares}
    for row in rows:
        if row.system in names:
            taken.setdefault(names[row.system], {})[row.n, row.seed] = row.latency_s
    common = set.intersection(*map(set, taken.values())) if taken else set()
    if not common or len(taken) < 2:
        return None
    largest = max(n for n, _ in common)
    keys = [key for key in common if key[0] == largest]
    return min(taken, key=lambda share: sum(taken[share][key] for key in keys))
