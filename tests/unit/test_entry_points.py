"""An algorithm from another package, found by its entry point: the one in examples/."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_algorithm"

SEARCH = """
from fasttts_sglang import SearchParams
from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.core import Node, drive

def expand(expansions):
    return [
        Node((*e.node.path, i), (*e.node.scores, (i + 1) / 9), 1)
        for e in expansions for i in range(e.num_children)
    ]

params = SearchParams(algorithm="greedy", n=4, max_steps=3)
print([node.path for node in drive(make(params), expand)])
"""


def test_an_installed_package_adds_an_algorithm(tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    (group, points), *_ = project["entry-points"].items()
    installed = tmp_path / "fasttts_greedy-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fasttts-greedy\nVersion: 0.1\n"
    )
    lines = [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    path = os.pathsep.join([str(tmp_path), str(EXAMPLE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SEARCH],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout == "[(3, 3, 3)]\n", done.stderr
