"""The pair's shared tokenizer: one token per character, and one for the blank line.

Training uses the byte table (fast); the exported Hugging Face tokenizer must agree with it, which
`build_tokenizer` checks.
"""

from pathlib import Path

from transformers import AutoTokenizer, Qwen2Tokenizer

PAD, BOS, EOS, UNK, STEP = range(5)
_NAMES = ["<pad>", "<bos>", "<eos>", "<unk>", "\n\n", "\n"]
_CHARACTERS = [chr(code) for code in range(33, 127)]
VOCABULARY = _NAMES + _CHARACTERS
_BLANK_LINE = "\x01"  # stands for the blank line while a text is translated byte by byte
_TABLE = bytes(
    STEP
    if chr(code) == _BLANK_LINE
    else VOCABULARY.index(chr(code))
    if chr(code) in VOCABULARY
    else UNK
    for code in range(256)
)
# The last user message is the problem; the blank line asks for the first step.
CHAT_TEMPLATE = (
    "{{ '<bos>' }}{% for message in messages if message['role'] == 'user' %}{% if loop.last %}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] | trim }}{% endfor %}{% endif %}"
    "{% endif %}{% endfor %}{{ '\\n\\n' }}"
)


def encode(text: str) -> bytes:
    """Return the token ids of `text` as bytes."""
    return text.replace("\n\n", _BLANK_LINE).encode("latin1", "replace").translate(_TABLE)


def decode(ids: bytes) -> str:
    """Return the text of `ids` without special tokens."""
    return "".join(VOCABULARY[i] for i in ids if i > UNK)


def prompt(problem: str) -> bytes:
    """Return the ids that the generator reads before its first step."""
    return bytes([BOS]) + encode(problem) + bytes([STEP])


def build_tokenizer() -> Qwen2Tokenizer:
    """Return the Hugging Face form of `encode` and `decode`.

    Transformers gives every checkpoint of the Qwen2 family this class, whatever its files say, so
    ours must be a byte-level BPE: characters, and one merge for the blank line. Characters without
    a token, spaces among them, are skipped.
    """
    newline = "\u010a"  # how a byte-level vocabulary writes it
    names = {name.replace("\n", newline): i for i, name in enumerate(VOCABULARY)}
    tokenizer = Qwen2Tokenizer(
        vocab=names,
        merges=[(newline, newline)],
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    text = "(47+386)*6-95\n\n47+386:13,13,4=433;433*6-95\n\nanswer:2503"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == list(encode(text)), "the exported tokenizer disagrees with the byte table"
    assert tokenizer.decode(ids) == text == decode(encode(text))
    return tokenizer


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer files into `folder` and read them back."""
    build_tokenizer().save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "47 + (386)"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == list(prompt("47+(386)")), "the saved tokenizer reads another prompt"
