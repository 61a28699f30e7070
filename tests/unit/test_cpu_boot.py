"""Which of SGLang's model code is imported on a CPU."""

import json
from pathlib import Path

import pytest

from fasttts_sglang.engine import TINY
from fasttts_sglang.errors import ConfigError
from fasttts_sglang.runtime.cpu import boot

SKIP = "SGLANG_DISABLED_MODEL_ARCHS"


def test_a_second_engine_of_another_architecture_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to start, without its model's code, and to fail in the scheduler."""
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    monkeypatch.setenv(SKIP, "llama,gemma")
    boot.skip_other_models(str(TINY / "generator"), str(TINY / "verifier"))
    with pytest.raises(ConfigError, match="llama was not; start this engine in a process of its"):
        boot.skip_other_models(str(tmp_path))
    with pytest.raises(ConfigError, match="llama was not"):
        boot.skip_other_models(str(TINY / "generator"), str(tmp_path))
