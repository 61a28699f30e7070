"""Makes SGLang's own reward model out of the tiny verifier, so that stock SGLang can run it."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def convert(verifier: Path, folder: Path) -> str:
    """Write the verifier as a `Qwen2ForRewardModel`, which gives the same value at the last token.

    That model's head is linear, ReLU, linear. A value v passes it unchanged as relu(v) - relu(-v).

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in verifier.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, folder)
    config = json.loads((verifier / "config.json").read_text())
    config["architectures"] = ["Qwen2ForRewardModel"]
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(verifier / "model.safetensors")
    row, bias = weights.pop("v_head.summary.weight"), weights.pop("v_head.summary.bias")
    width = row.shape[1]
    first = torch.zeros(width, width, dtype=row.dtype)
    first[0], first[1] = row[0], -row[0]
    first_bias = torch.zeros(width, dtype=row.dtype)
    first_bias[0], first_bias[1] = bias[0], -bias[0]
    second = torch.zeros(1, width, dtype=row.dtype)
    second[0, 0], second[0, 1] = 1, -1
    weights |= {
        "score.0.weight": first,
        "score.0.bias": first_bias,
        "score.2.weight": second,
        "score.2.bias": torch.zeros(1, dtype=row.dtype),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)
