"""Server args that a user has not given."""

from pathlib import Path

import pytest

from fasttts_sglang.runtime.arguments import defaults, given, with_defaults


@pytest.mark.parametrize(
    ("named", "cuda", "expected"),
    [
        ((), True, {"page_size": 1, "attention_backend": "triton"}),
        ((), False, {"page_size": 1}),  # another accelerator has backends of its own
        (("page_size",), True, {"attention_backend": "triton"}),
        (("attention_backend",), True, {"page_size": 1}),
        (("decode_attention_backend", "page_size"), True, {}),
    ],
)
def test_on_a_gpu_attention_is_by_triton_unless_a_backend_is_named(
    named: tuple[str, ...], cuda: bool, expected: dict[str, object]
) -> None:
    assert defaults(named, on_cpu=False, cuda=cuda) == expected


def test_a_cpu_has_its_own() -> None:
    found = defaults(("dtype",), on_cpu=True, cuda=False)
    assert found["attention_backend"] == "torch_native" and "dtype" not in found


def test_only_flags_are_names() -> None:
    argv = ["--page-size=1", "--model-path", "attention_backend", "--enable-metrics"]
    assert given(argv) == {"page_size", "model_path", "enable_metrics"}


def test_what_a_config_file_says_is_given(tmp_path: Path) -> None:
    """A flag that we added would have gone before it."""
    path = tmp_path / "server.yaml"
    path.write_text("attention-backend: flashinfer\npage_size: 1\n")
    assert given(["--config", str(path)]) == {"config", "attention_backend", "page_size"}


@pytest.mark.parametrize("text", ["[", "7", ""])
def test_a_broken_config_file_is_left_to_sglang(tmp_path: Path, text: str) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(text)
    assert given([f"--config={path}"]) == {"config"}
    assert given(["--config", str(tmp_path / "none")]) == {"config"}


def test_flags_are_added_behind_the_users() -> None:
    argv = ["--model-path", "some", "--page-size", "1", "--attention-backend=torch_native"]
    assert with_defaults(argv, None)[: len(argv)] == argv
    added = with_defaults(argv, None)[len(argv) :]
    assert "--page-size" not in added and "--attention-backend" not in added
