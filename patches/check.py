"""Check that every patch has its header and applies to the pinned, installed SGLang."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
HEADER = ("Reason", "Pin", "Upstream", "Remove-when")


def main() -> int:
    """Print one line per faulty patch and a summary; return the number of faults."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    pin = next(item for item in project["dependencies"] if item.startswith("sglang=="))
    spec = importlib.util.find_spec("sglang")
    if spec is None or not spec.submodule_search_locations:
        print("patches: sglang is not installed", file=sys.stderr)
        return 1
    site = Path(spec.submodule_search_locations[0]).parent
    patches = sorted(HERE.glob("*.patch"))
    faults = [fault for patch in patches if (fault := check(patch, pin, site))]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"patches: {len(patches)} checked against {pin}, {len(faults)} faulty")
    return len(faults)


def check(patch: Path, pin: str, site: Path) -> str | None:
    """What is wrong with `patch`, or None."""
    head = patch.read_text().split("\n--- ", 1)[0]
    for name in HEADER:
        if not re.search(rf"^{name}: \S", head, re.MULTILINE):
            return f"{patch.name}: the header has no '{name}:' line"
    if f"Pin: {pin}" not in head:
        return f"{patch.name}: written for another pin than {pin}"
    # `git apply` ignores paths outside a repository's work tree; `patch` does not care
    command = ["patch", "--dry-run", "--force", "--strip=1", "--directory", str(site)]
    done = subprocess.run(command, input=patch.read_bytes(), capture_output=True, check=False)
    return f"{patch.name}: does not apply: {done.stdout.decode()}" if done.returncode else None


if __name__ == "__main__":
    sys.exit(main())
