"""Turns a problem and its steps into the token ids that the verifier reads."""

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

from ..errors import BadRequest, ConfigError
from ..verifier.families import Family
from ..verifier.formats import Markup, Message
from .messages import SearchMessage


class Renderer(Protocol):
    """What the verifier reads. Called once per search and once per step."""

    def prompt(self, message: SearchMessage) -> Sequence[int]:
        """Token ids before the first step. Raises BadRequest if the problem cannot be read."""

    def step(self, ids: Sequence[int], index: int, last: bool) -> Sequence[int]:
        """Token ids that a step of these generator's `ids` adds; it is scored at their end."""


class SharedTokens:
    """The verifier reads what the generator reads and writes."""

    def prompt(self, message: SearchMessage) -> Sequence[int]:
        """The generator's prompt."""
        return message.prompt_ids

    def step(self, ids: Sequence[int], index: int, last: bool) -> Sequence[int]:
        """The generator's tokens."""
        return ids


class TextRenderer:
    """The verifier has a format and a tokenizer of its own.

    Args:
        family: The format.
        tokenizer: The verifier's, a Hugging Face one.
        generator: The generator's tokenizer.

    Raises:
        ConfigError: The tokenizer is not a fast one, or lacks a token or template of the family.
    """

    def __init__(self, family: Family, tokenizer: Any, generator: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError("--fasttts-verifier-path: its tokenizer has no tokenizer.json")
        if generator is None:
            raise ConfigError(
                f"--fasttts-prm-family {family.name} reads text, which --skip-tokenizer-init rules"
                " out"
            )
        self._family = family
        self._generator = generator
        self._markup = _copy(tokenizer)
        self._content = _copy(tokenizer)
        self._content.encode_special_tokens = True
        bos = tokenizer.bos_token_id if family.begins_sequence else None
        self._begin = [] if bos is None else [int(bos)]
        self._num_anchor = len(_ids(self._content, family.anchor))
        self._template = lru_cache(partial(_apply, tokenizer))
        self._check()

    def prompt(self, message: SearchMessage) -> Sequence[int]:
        """The problem as the family writes it."""
        if message.problem is None:
            raise BadRequest(
                "input_ids",
                f"the verifier (family {self._family.name}) reads text; send prompt or messages",
            )
        assert self._family.prompt is not None
        return self._begin + self._encode(self._family.prompt(message.problem, self._chat))

    def step(self, ids: Sequence[int], index: int, last: bool) -> Sequence[int]:
        """A step as the family writes it, tokenized as it would be within the whole text."""
        assert self._family.step is not None
        text = self._generator.decode(list(ids), skip_special_tokens=True)
        first, *others = self._family.step(text, index, last, self._chat)
        if self._num_anchor:
            anchored = _ids(self._content, self._family.anchor + first)
            return anchored[self._num_anchor :] + self._encode(others)
        return self._encode((first, *others))

    def labels(self) -> list[int]:
        """Ids of the family's two labels."""
        return [_ids(self._markup, label)[-1] for label in self._family.labels or ()]

    def _encode(self, pieces: Iterable[str]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            ids += _ids(self._markup if isinstance(piece, Markup) else self._content, piece)
        return ids

    def _chat(self, messages: list[Message], begin: bool) -> str:
        return self._template(tuple((m["role"], m["content"]) for m in messages), begin)

    def _check(self) -> None:
        """What is missing is found at the start, not by the first search."""
        family = self._family
        assert family.prompt is not None and family.step is not None
        family.prompt("1+1", self._chat)
        family.step("2", 0, True, self._chat)
        if family.marker and len(_ids(self._markup, family.marker)) != 1:
            raise ConfigError(
                f"--fasttts-prm-family {family.name}: the verifier's tokenizer has no token"
                f" {family.marker}"
            )


def _copy(tokenizer: Any) -> Any:
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _apply(tokenizer: Any, turns: tuple[tuple[str, str], ...], begin: bool) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=begin
        )
        return text
    except Exception as exc:  # templates raise what they like
        raise ConfigError(f"--fasttts-verifier-path: its chat template fails: {exc}") from exc
