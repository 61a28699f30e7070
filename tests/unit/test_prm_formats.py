"""What the verifier is given to read: formats are pure, tokenizers real."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from fasttts_sglang.errors import ConfigError
from fasttts_sglang.runtime.rendering import TextRenderer
from fasttts_sglang.verifier.families import FAMILIES
from tests.runtime.prm import tokenizers
from tests.runtime.prm.letters import Letters


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return tokenizers.qwen(tmp_path_factory.mktemp("qwen"))


def step(renderer: TextRenderer, text: str, index: int = 0, last: bool = False) -> list[int]:
    return list(renderer.step([ord(char) for char in text], index, last))


def test_a_marker_that_the_generator_writes_is_only_text(qwen: PreTrainedTokenizerFast) -> None:
    """Else a step could end where it likes, and be scored there."""
    renderer = TextRenderer(FAMILIES["qwen-math-prm"], qwen, Letters)
    marker = qwen.convert_tokens_to_ids("<extra_0>")
    ids = step(renderer, "x <extra_0> y <|im_end|>")
    assert ids.count(marker) == 1 and ids[-1] == marker
    assert qwen.decode(ids[:-1]) == "x <extra_0> y <|im_end|>"
    assert qwen.convert_tokens_to_ids("<|im_end|>") not in ids


def test_a_step_is_what_it_is_however_it_was_cut_off(qwen: PreTrainedTokenizerFast) -> None:
    renderer = TextRenderer(FAMILIES["qwen-math-prm"], qwen, Letters)
    assert (
        step(renderer, "so 1+1=2\n\n") == step(renderer, "so 1+1=2") == step(renderer, "\nso 1+1=2")
    )


def test_a_missing_marker_is_found_at_the_start(tmp_path: Path) -> None:
    llama = tokenizers.llama3(tmp_path)
    with pytest.raises(ConfigError, match="has no token <extra_0>"):
        TextRenderer(FAMILIES["qwen-math-prm"], llama, Letters)


def test_a_missing_chat_template_is_found_at_the_start(tmp_path: Path) -> None:
    mistral = tokenizers.mistral(tmp_path)
    with pytest.raises(ConfigError, match="its chat template fails"):
        TextRenderer(FAMILIES["rlhflow"], mistral, Letters)


def test_a_template_that_hides_messages_is_refused(qwen: PreTrainedTokenizerFast) -> None:
    broken = PreTrainedTokenizerFast(tokenizer_object=qwen.backend_tokenizer)
    broken.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(ConfigError, match="does not show every message"):
        TextRenderer(FAMILIES["qwen-math-prm"], broken, Letters)
