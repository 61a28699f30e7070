"""Which part may import which: in one direction, and the pure parts without torch and SGLang."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fasttts_sglang

ROOT = Path(fasttts_sglang.__file__).parent
ORDER = [
    "telemetry",
    "search",
    "report",
    "verifier",
    "scheduling",
    "memory",
    "mathematics",
    "api",
    "runtime",
]
PURE = ORDER[:-1]


def imported_parts(path: Path) -> set[str]:
    """Names of our top-level parts that a module imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = path.relative_to(ROOT).parent.parts
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {(*base, *name.split("."))[0] for name in names}
    return found


@pytest.mark.parametrize("part", ORDER)
def test_imports_go_one_way(part: str) -> None:
    later = set(ORDER[ORDER.index(part) + 1 :])
    for module in sorted((ROOT / part).rglob("*.py")):
        assert not imported_parts(module) & later, module


def test_pure_parts_load_without_torch_and_sglang() -> None:
    modules = [
        "fasttts_sglang." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for part in PURE
        for path in (ROOT / part).rglob("*.py")
    ]
    code = (
        f"import importlib, sys; [importlib.import_module(m) for m in {modules}]\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'sglang'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_command_line_answers_help_without_torch() -> None:
    code = (
        "import sys\nfrom fasttts_sglang.cli import main\n"
        "try: main(['solve', '--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--max-step-tokens" in done.stdout
