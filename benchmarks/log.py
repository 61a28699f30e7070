"""The file that a run appends to and goes on from: JSON lines, several settings in one file."""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from .machine import Machine
from .measures import Measures


class Log:
    """What was measured with one setting, on one device.

    Args:
        path: The file; None: nothing is kept.
        setting: Its name; lines of others are passed over.
        device: What it runs on; likewise, since times of two devices must not be mixed.
    """

    def __init__(self, path: Path | None, setting: str, device: str) -> None:
        self._path, self._setting, self._device = path, setting, device

    def rows(self) -> list[Measures]:
        """All searches so far."""
        names = {field.name for field in fields(Measures)}
        return [
            Measures(**{key: value for key, value in line.items() if key in names})
            for line in self._lines()
            if "system" in line
        ]

    def machine(self) -> Machine | None:
        """The machine's rates, if a run has measured them."""
        found = None
        for line in self._lines():
            if "machine" in line:
                found = Machine.from_dict(line["machine"])
        return found

    def add_machine(self, machine: Machine) -> None:
        """Keep the rates for later slices, so that all limits come of the same ones."""
        self._append({"machine": machine.to_dict()})

    def add(self, row: Measures) -> str:
        """Keep a search; returns its JSON line."""
        return self._append(row.to_dict())

    def _append(self, record: dict[str, Any]) -> str:
        line = json.dumps({**record, "setting": self._setting, "device": self._device})
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(line + "\n")
        return line

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return
        for text in self._path.read_text().splitlines():
            line: dict[str, Any] = json.loads(text)
            if (line["setting"], line["device"]) == (self._setting, self._device):
                yield line
