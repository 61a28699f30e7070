"""An algorithm from another package, found by its entry point: the one in examples/."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fasttts_sglang import FastTTSConfig
from fasttts_sglang.errors import ConfigError
from fasttts_sglang.search.algorithms import GROUP

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


BROKEN = """
from fasttts_sglang import SearchParams
from fasttts_sglang.errors import BadRequest
from fasttts_sglang.search.algorithms import make

make(SearchParams(n=4))  # not its business
try:
    make(SearchParams(algorithm="broken"))
except BadRequest as exc:
    print(exc)
"""

CONFIGURED = """
from fasttts_sglang import FastTTSConfig
FastTTSConfig(algorithms=("greedy=fasttts_greedy:greedy",)).register_algorithms()
"""


def install(folder: Path, name: str, target: str) -> None:
    """What an installer leaves of a package with that entry point."""
    installed = folder / f"{name}-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {target}\n")


def run(program: str, *folders: Path) -> str:
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_package_adds_an_algorithm(tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    ((name, target),) = project["entry-points"][GROUP].items()
    install(tmp_path, name, target)
    assert run(SEARCH, tmp_path, EXAMPLE) == "[(3, 3, 3)]\n"


def test_the_configuration_adds_an_algorithm() -> None:
    assert run(CONFIGURED + SEARCH, EXAMPLE) == "[(3, 3, 3)]\n"


def test_a_broken_package_hurts_only_who_asks_for_it(tmp_path: Path) -> None:
    """All were once loaded to know their names, and one that failed stopped every search."""
    install(tmp_path, "broken", "no_such_module:search")
    message = "algorithm: 'broken' cannot be imported: No module named 'no_such_module'\n"
    assert run(BROKEN, tmp_path) == message


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("greedy", "'greedy' is not name=module:function"),
        ("beam=fasttts_greedy:greedy", "beam is built in"),
        ("mine=no_such_module:search", "No module named 'no_such_module'"),
    ],
)
def test_a_wrong_algorithm_is_refused_by_name(entry: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FastTTSConfig(algorithms=(entry,)).register_algorithms()
