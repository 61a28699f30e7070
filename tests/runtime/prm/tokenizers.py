"""Small tokenizers of the three kinds that published reward models have."""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

_TEXTS = [
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many in May.",
    "Step 1: She sold 48 / 2 = 24 clips in May.\n\nStep 2: Together that is 48 + 24 = 72.\n\n",
    "The answer is \\boxed{72}. Please reason step by step, and put your final answer within",
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n system user assistant",
]
# the pre-tokenization of Qwen2 and, but for the length of numbers, of Llama 3
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n"
    "{% endif %}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
    "December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>{% for m in messages %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n"
    "{% endif %}"
)


def _byte_level(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS * 3, trainer)
    return tokenizer


def qwen(folder: Path) -> PreTrainedTokenizerFast:
    """ChatML and the step marker; the BOS is Skywork's."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"]
    return _save(_byte_level(special), folder, _CHATML, bos="<|endoftext|>", eos="<|im_end|>")


def llama3(folder: Path) -> PreTrainedTokenizerFast:
    """Llama 3.1's headers, with the system turn that its template always writes."""
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return _save(_byte_level(special), folder, _LLAMA3, bos=special[0], eos=special[3])


def mistral(folder: Path) -> PreTrainedTokenizerFast:
    """SentencePiece as Mistral has it: blanks are U+2581, one is put before, bytes as fallback."""
    words = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = words
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    texts = [line for text in _TEXTS for line in text.split("\n")]
    texts = [f"{line} ки + - ки + -" for line in texts]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.train_from_iterator(texts * 3, trainer)
    tokenizer.pre_tokenizer = None
    return _save(tokenizer, folder, None, bos="<s>", eos="</s>")


def _save(
    tokenizer: Tokenizer, folder: Path, template: str | None, *, bos: str, eos: str
) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)
    if template:
        fast.chat_template = template
    fast.save_pretrained(folder)
    return fast
