"""Memory sizes as people write them."""

import math
import re

from ..errors import ConfigError

_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{prefix}ib": 1 << 10 * power for power, prefix in enumerate("kmgt", 1)}
_UNITS |= {f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
MOST = 1 << 50


def parse_bytes(text: str, flag: str) -> int:
    """Bytes of "24GiB", "24GB", "24000MiB" or a plain number of them.

    >>> parse_bytes("1.5GiB", "--gpu-memory") == 1536 << 20
    True

    Raises:
        ConfigError: It is none, or out of range; the message names `flag`.
    """
    match = _WRITTEN.fullmatch(text)
    unit = None if match is None else _UNITS.get(match[2].lower())
    if match is None or unit is None:
        raise ConfigError(f"{flag}: must be a size like 24GiB, 24GB or 24000MiB, got {text!r}")
    value = float(match[1]) * unit
    if not math.isfinite(value) or not 1 <= value <= MOST:
        raise ConfigError(f"{flag}: must be in [1 B, {MOST >> 40} TiB], got {text!r}")
    return int(value)


def shown(size: float) -> str:
    """Bytes for people.

    >>> shown(3 << 29), shown(300 << 10)
    ('1.50 GiB', '0.3 MiB')
    """
    return f"{size / 2**30:.2f} GiB" if size >= 1 << 30 else f"{size / 2**20:.1f} MiB"
