"""`fasttts plan`: what it prints, what it refuses, and that it starts without torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fasttts_sglang.cli import main
from fasttts_sglang.engine import TINY

PAIR = ["plan", "--model", "qwen2.5-7b", "--verifier", "qwen2.5-1.5b"]


def planned(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert main([*PAIR, "--json", *flags]) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    return plan


def test_the_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "--gpu-memory", "20.5GiB", "-n", "256", "--machine", "rtx-4090")
    assert plan["models"] == {"generator": "qwen2.5-7b", "verifier": "qwen2.5-1.5b"}
    assert (plan["workload"]["n"], plan["machine"]["name"]) == (256, "rtx-4090")
    parts = [plan["generator"]["kv_bytes"], plan["verifier"]["kv_bytes"]]
    assert sum(parts) == plan["budget_bytes"]
    assert plan["verifier_fraction"] == pytest.approx(parts[1] / sum(parts))
    totals = [point["round_s"] for point in plan["curve"]]
    assert plan["round_s"] <= min(totals) * 1.000001
    for point in plan["curve"]:
        assert point["round_s"] == pytest.approx(point["generator_s"] + point["verifier_s"] / 2)
    assert plan["search_s"] == pytest.approx(8 * plan["round_s"])


def test_every_flag_of_the_workload_counts(capsys: pytest.CaptureFixture[str]) -> None:
    base = planned(capsys, "--gpu-memory", "20GiB", "--mem-fraction-static", "0.9")["round_s"]
    for flag, value in {
        "--n": "100",
        "--branch": "2",
        "--prompt-tokens": "400",
        "--step-tokens": "90",
        "--step-sigma": "0.8",
        "--path-tokens": "700",
        "--verifier-batch-tokens": "1000",
    }.items():
        flags = ["--gpu-memory", "20GiB", "--mem-fraction-static", "0.9", flag, value]
        assert planned(capsys, *flags)["round_s"] > base * 1.001, flag


def test_the_plan_as_text_and_as_a_folders(capsys: pytest.CaptureFixture[str]) -> None:
    pair = ["--model", str(TINY / "generator"), "--verifier", str(TINY / "verifier")]
    assert main(["plan", *pair, "--gpu-memory", "64MiB", "--machine", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "45 MiB of KV for n=64, branch=4, 8 rounds of 70 tokens on cpu" in text
    assert "--fasttts-kv-split 0.6" in text
    assert "--fasttts-host-offload auto: generator and verifier; " in text
    assert len(text.splitlines()) == 25
    assert main(["plan", *pair, "--gpu-memory", "8GiB", "-n", "4", "--machine", "cpu"]) == 0
    assert "; nothing to save here, where all fits.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--gpu-memory", "lots"], 1, "--gpu-memory: must be a size like 24GiB"),
        (["--gpu-memory", "24GiB", "--machine", "abacus"], 1, "--machine: must be a JSON file or"),
        (["--gpu-memory", "24GiB", "--n", "0"], 2, "--n: it must be in [1, 4096], got 0"),
        (["--gpu-memory", "24GiB", "--step-tokens", "0"], 2, "--step-tokens: it must be in [1, 1"),
        (
            ["--gpu-memory", "24GiB", "--mem-fraction-static", "2"],
            1,
            "--mem-fraction-static: must be in [0.05, 1], got 2.0",
        ),
        (["--gpu-memory", "24GiB", "--plot", "no/where.png"], 1, "--plot: 'no' is no directory"),
        (
            ["--gpu-memory", "16GiB"],
            1,
            "--gpu-memory 16GiB: of 14.08 GiB (--mem-fraction-static 0.88) the weights take"
            " 14.18 GiB and 2.88 GiB; not even one path of 816 tokens fits into the KV memory of"
            " each model: 3119 MiB are missing",
        ),
        (
            ["--gpu-memory", "24GiB", "--model", "Qwen/Qwen2.5-7B"],
            1,
            "Qwen/Qwen2.5-7B: is neither a folder with a config.json nor one of",
        ),
    ],
)
def test_bad_input_is_refused_by_name(
    flags: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PAIR, *flags]) == status
    assert f"fasttts: {message}" in capsys.readouterr().err


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "plan.png"
    assert main([*PAIR, "--gpu-memory", "20.5GiB", "--plot", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_plot_needs_matplotlib(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*PAIR, "--gpu-memory", "24GiB", "--plot", str(tmp_path / "plan.png")]) == 1
    assert "--plot: needs matplotlib, the extra `bench`" in capsys.readouterr().err


def test_it_plans_without_torch_and_sglang() -> None:
    code = (
        f"import sys\nfrom fasttts_sglang.cli import main\n"
        f"main({[*PAIR, '--gpu-memory', '24GiB']})\n"
        "assert not {'torch', 'sglang', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--fasttts-kv-split" in done.stdout
