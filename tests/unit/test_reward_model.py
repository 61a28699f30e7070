"""The baseline's reward model is the tiny verifier, value for value."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks.baselines.reward_model import convert
from fasttts_sglang.engine import TINY


def test_the_converted_head_gives_the_same_values(tmp_path: Path) -> None:
    folder = Path(convert(TINY / "verifier", tmp_path / "rm"))
    before = load_file(TINY / "verifier" / "model.safetensors")
    after = {name: w.float() for name, w in load_file(folder / "model.safetensors").items()}
    hidden = torch.randn(50, before["v_head.summary.weight"].shape[1])
    inner = torch.relu(hidden @ after["score.0.weight"].T + after["score.0.bias"])
    values = inner @ after["score.2.weight"].T + after["score.2.bias"]
    head = before["v_head.summary.weight"].float(), before["v_head.summary.bias"].float()
    torch.testing.assert_close(values.flatten(), hidden @ head[0][0] + head[1])
    trunk = {name for name in before if name.startswith("model.")}
    assert trunk == {name for name in after if name.startswith("model.")}
