"""Server flags: a frozen list, checked values, and a README that tells the truth."""

import json
from pathlib import Path

import pytest

from fasttts_sglang import SearchParams
from fasttts_sglang import fields as declared
from fasttts_sglang.config import FastTTSConfig, flag_table, split_argv
from fasttts_sglang.errors import ConfigError

README = Path(__file__).parents[2] / "README.md"
FLAGS = [
    "--fasttts-verifier-path",
    "--fasttts-prm-family",
    "--fasttts-verifier-function",
    "--fasttts-kv-split",
    "--fasttts-verifier-tokens",
    "--fasttts-kv-resize",
    "--fasttts-host-offload",
    "--fasttts-verifier-batch-tokens",
    "--fasttts-verdict-tokens",
    "--fasttts-max-searches",
    "--fasttts-max-width",
    "--fasttts-score-cache-entries",
    "--fasttts-speculation",
    "--fasttts-decode-burst",
    "--fasttts-prefix-order",
    "--fasttts-shared-attention",
    "--fasttts-algorithms",
    "--fasttts-default-search",
    "--fasttts-replay",
]


def test_the_flags_are_these() -> None:
    """Renaming a flag breaks users' start scripts: do it on purpose."""
    rows = flag_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == FLAGS


def test_the_readme_shows_flags_and_parameters_as_they_are() -> None:
    text = README.read_text()
    assert flag_table() in text
    assert declared.table(SearchParams, "") in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--fasttts-verifer-path", "x"], "did you mean --fasttts-verifier-path?"),
        (["--fasttts-max-width=0"], r"--fasttts-max-width: it must be in \[1, 4096\], got 0"),
        (["--fasttts-max-width", "many"], "--fasttts-max-width: invalid int value: 'many'"),
        (["--fasttts-max-searches"], "--fasttts-max-searches: expected one argument"),
        (["--fasttts-kv-split", "1.5"], r"-split: must be auto or in \[0.01, 0.95\], got '1.5'"),
        (["--fasttts-host-offload", "8 parsecs"], "-host-offload: must be a size like 24GiB"),
        (["--fasttts-kv-split", "nan"], r"-split: must be auto or in \[0.01, 0.95\], got 'nan'"),
        (["--fasttts-kv-split", "half"], r"-split: must be auto or in \[0.01, 0.95\], got 'half'"),
        (["--fasttts"], "--fasttts is no flag"),
        (["--fasttts-default-search", "beam"], "--fasttts-default-search: is not JSON"),
        (["--fasttts-default-search", "[]"], "must be a JSON object, got \\[\\]"),
        (["--fasttts-default-search", '{"n": 3}'], "n: 3 is not divisible by branch=4"),
        (["--fasttts-default-search", '{"n": 2048}'], "exceeds --fasttts-max-width 1024"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_argv(argv)


def test_sglang_keeps_its_own_flags() -> None:
    config, rest = split_argv(["--model", "m", "--fasttts-max-width", "7", "--tp", "2"])
    assert (config.max_width, rest) == (7, ["--model", "m", "--tp", "2"])


def test_the_configuration_survives_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FastTTSConfig(verifier_path="p q", verifier_tokens=99, kv_split="0.25")
    monkeypatch.setenv("FASTTTS_CONFIG", config.to_env())
    assert FastTTSConfig.from_env() == config


def test_a_default_search_needs_its_verifier() -> None:
    config = FastTTSConfig(default_search='{"n": 4}')
    assert config.default_params == {"n": 4}
    with pytest.raises(ConfigError, match="--fasttts-default-search: beam needs"):
        config.check_verifier()
    FastTTSConfig(default_search='{"algorithm": "self_consistency"}').check_verifier()
    assert FastTTSConfig().default_params is None


def test_a_verifier_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        FastTTSConfig(verifier_path=str(tmp_path)).check_verifier()
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        FastTTSConfig(verifier_path="./not/here").check_verifier()


def checkpoint(folder: Path, architecture: str, vocab_size: int) -> str:
    folder.mkdir()
    config = {"architectures": [architecture], "vocab_size": vocab_size}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_a_mismatched_verifier_is_refused_before_anything_boots(tmp_path: Path) -> None:
    generator = checkpoint(tmp_path / "generator", "Qwen2ForCausalLM", 100)
    verifier = checkpoint(tmp_path / "verifier", "Qwen2ForPrmModel", 100)
    other = checkpoint(tmp_path / "other", "Qwen2ForPrmModel", 101)
    FastTTSConfig(verifier_path=verifier).check_verifier(generator)
    with pytest.raises(ConfigError, match="has 101 entries, the generator's 100"):
        shared = FastTTSConfig(verifier_path=other, prm_family="shared-tokens")
        shared.check_verifier(generator)
    FastTTSConfig(verifier_path=other).check_verifier(generator)  # Skywork's reads text


def test_a_verifier_of_another_kind_is_refused_before_anything_boots(tmp_path: Path) -> None:
    language_model = checkpoint(tmp_path / "lm", "Qwen2ForCausalLM", 100)
    other = checkpoint(tmp_path / "other", "BertModel", 100)
    with pytest.raises(ConfigError, match=r"say of which family by .* math-shepherd or rlhflow"):
        FastTTSConfig(verifier_path=language_model).check_verifier()
    with pytest.raises(
        ConfigError, match=r"reads Qwen2ForPrmModel; the checkpoint's .* Qwen2ForCa"
    ):
        FastTTSConfig(verifier_path=language_model, prm_family="skywork").check_verifier()
    with pytest.raises(ConfigError, match="BertModel is no process reward model we know"):
        FastTTSConfig(verifier_path=other).check_verifier()
    with pytest.raises(ConfigError, match=r"--fasttts-prm-family: must be one of .*, got 'magic'"):
        FastTTSConfig(verifier_path=other, prm_family="magic")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("json", "names no function"),
        ("json:nothing", "has no attribute 'nothing'"),
        ("no_such_module:f", "No module named 'no_such_module'"),
    ],
)
def test_a_verifier_function_that_is_none_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FastTTSConfig(verifier_function=name).check_verifier()


def test_there_is_one_verifier() -> None:
    with pytest.raises(ConfigError, match="only one verifier can be"):
        FastTTSConfig(verifier_function="json:loads", verifier_path="somewhere")
