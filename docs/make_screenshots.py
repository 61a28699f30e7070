"""Draw the pictures in docs/ from a search of the demo: python -m docs.make_screenshots [RESULT]

Without RESULT it runs the search, on the bundled models. Needs the extra `docs`.
"""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI

from fasttts_sglang.models import tiny_task
from fasttts_sglang.report.command import read, write
from fasttts_sglang.search.result import SearchResult
from fasttts_sglang.solve import show as print_result

from .browser import browser, picture, show

HERE = Path(__file__).parent
SOLVE = ("solve", "--demo", "--n", "64", "--selection", "weighted")
COLOURS = 128  # of a PNG's palette


def main(source: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        result = read(source or _search(Path(folder)))
        report, terminal = Path(folder, "report.html"), Path(folder, "solve.svg")
        write(result, page_out=report, trace_out=None)
        terminal.write_text(_terminal(result), "utf-8")
        with browser() as driver:
            for width in (1280, 390):
                show(driver, report, width=width)
                _save(picture(driver), HERE / f"report_{width}.png")
            wide, high = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', terminal.read_text())[0]
            show(driver, terminal, width=round(float(wide)), height=round(float(high)))
            _save(picture(driver), HERE / "solve.png")


def _search(folder: Path) -> str:
    """The file with the result of a search of the demo."""
    command = [sys.executable, "-m", "fasttts_sglang.cli", *SOLVE, "--timeline", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
    found = folder / "result.json"
    found.write_bytes(done.stdout)
    return str(found)


def _terminal(result: SearchResult) -> str:
    """What `fasttts solve` prints, as an SVG without fonts from elsewhere."""
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$[/] fasttts {' '.join(SOLVE)}\n", highlight=False)
    problem = result.problem or ""
    print_result(result, problem, str(tiny_task.true_answer(problem)), console)
    console.print()
    drawn = console.export_svg(title="fasttts", theme=MONOKAI)
    return re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)


def _save(png: bytes, path: Path) -> None:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
