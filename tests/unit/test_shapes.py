"""Model shapes from config.json alone, machines by name or file, and sizes as written."""

import json
from pathlib import Path
from typing import Any

import pytest

from fasttts_sglang.engine import TINY
from fasttts_sglang.errors import ConfigError
from fasttts_sglang.memory.machines import MACHINES, Machine
from fasttts_sglang.memory.shapes import SHAPES, ModelShape
from fasttts_sglang.memory.sizes import parse_bytes

QWEN = {**SHAPES["qwen2.5-7b"], "architectures": ["Qwen2ForCausalLM"]}


@pytest.mark.parametrize(
    ("name", "verifier", "parameters"),
    [  # as published, less norms and biases
        ("qwen2.5-1.5b", False, 1.54e9),
        ("qwen2.5-7b", False, 7.62e9),
        ("mistral-7b", False, 7.24e9),
        ("mistral-7b", True, 7.24e9 - 4096 * 32000),
    ],
)
def test_the_papers_models_have_their_published_size(
    name: str, verifier: bool, parameters: float
) -> None:
    shape = ModelShape.named(name, verifier=verifier)
    assert shape.weight_bytes / 2 == pytest.approx(parameters, rel=0.003)


@pytest.mark.parametrize("part", ["generator", "verifier"])
def test_the_bundled_weights_have_the_predicted_size(part: str) -> None:
    shape = ModelShape.named(str(TINY / part))
    size = (TINY / part / "model.safetensors").stat().st_size
    assert shape.weight_bytes == pytest.approx(size, rel=0.02)  # and norms, biases, a header
    assert shape.kv_bytes == 2 * {"generator": 4, "verifier": 6}[part] * 2 * 64 * 2


def test_what_is_stored_in_another_type_costs_accordingly() -> None:
    plain = ModelShape.from_config(QWEN)
    assert plain.kv_bytes == 57_344
    assert ModelShape.from_config(QWEN, kv_dtype="fp8_e4m3").kv_bytes == plain.kv_bytes // 2
    assert ModelShape.from_config(QWEN, dtype="float32").weight_bytes == 2 * plain.weight_bytes
    halves = ModelShape.from_config(QWEN, tp_size=2)
    assert (halves.kv_bytes, halves.flops) == (plain.kv_bytes // 2, plain.flops / 2)
    assert ModelShape.from_config(QWEN, tp_size=8).kv_bytes == plain.kv_bytes // 4  # replicated
    four_bits = ModelShape.from_config({**QWEN, "quantization_config": {"bits": 4}})
    embeddings = 2 * 2 * 152064 * 3584
    assert four_bits.weight_bytes - embeddings == (plain.weight_bytes - embeddings) // 4
    nested = ModelShape.from_config({"text_config": QWEN, "hidden_size": 1})
    assert nested == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "m: hidden_size in config.json must be a positive integer, got No"),
        ({"num_hidden_layers": "12"}, "num_hidden_layers .* got '12'"),
        ({"vocab_size": 0}, "vocab_size .* got 0"),
        ({"torch_dtype": "int3"}, "m: dtype must be one of float32, .* got int3"),
        ({"num_experts": 8}, r"m: a mixture of experts \(num_experts\) cannot be planned"),
    ],
)
def test_a_config_of_no_use_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelShape.from_config({**QWEN, **change}, "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            "is neither a folder with a config.json nor one of qwen2.5-1.5b, .* nothing is down",
        ),
        ("{", "config.json: cannot be read as JSON"),
        ("[]", "config.json: must be a JSON object, got list"),
    ],
)
def test_a_folder_of_no_use_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        ModelShape.named(str(tmp_path))


def test_a_machine_is_known_by_name_or_file(tmp_path: Path) -> None:
    assert Machine.named("H200") is MACHINES["h200"]
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(MACHINES["h100"].to_dict()))
    assert Machine.named(str(file)) == MACHINES["h100"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--machine: must be a JSON file or one of rtx-3070-ti, "),
        ("{", "--machine: .*machine.json: Expecting"),
        ('{"name": "x"}', "a machine is a JSON object of bandwidth, "),
        ('{"name": "x", "bandwidth": 1, "rate": 0}', "rate must be a positive number, got 0"),
        ('{"name": "x", "bandwidth": 1, "rate": NaN}', "rate must be a positive number, got nan"),
        (
            '{"name": "x", "bandwidth": "1", "rate": 1}',
            "bandwidth must be a positive number, got '1",
        ),
    ],
)
def test_a_wrong_machine_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "machine.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        Machine.named(str(file))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GiB", 24 << 30),
        ("24GB", 24 * 10**9),
        ("24000MiB", 24000 << 20),
        ("24000 mib", 24000 << 20),
        ("1.5TiB", 3 << 39),
        ("1024", 1024),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text, "--gpu-memory") == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "24XB", "1e3GB", "2GiB4", "inf"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--gpu-memory: must be a size like 24GiB, .* got '"):
        parse_bytes(text, "--gpu-memory")


@pytest.mark.parametrize("text", ["0GiB", "9999TiB", "9" * 400 + "GiB"])
def test_a_size_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--gpu-memory: must be in \[1 B, 1024 TiB\], got"):
        parse_bytes(text, "--gpu-memory")
