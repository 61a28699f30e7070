"""Turns a problem and its steps into the token ids that the verifier reads."""

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

from ..errors import BadRequest, ConfigError
from ..verifier.families import Family, Verdict
from ..verifier.formats import Markup, Message
from .messages import ScoreMessage, SearchMessage


class Renderer(Protocol):
    """What the verifier reads. Called once per search and once per step."""

    def prompt(self, message: SearchMessage | ScoreMessage) -> Sequence[int]:
        """Token ids before the first step. Raises BadRequest if the problem cannot be read."""

    def step(self, ids: Sequence[int], index: int, last: bool) -> Sequence[int]:
        """Token ids that a step of these generator's `ids` adds; it is scored at their end."""

    def question(self, ids: Sequence[int], index: int) -> Sequence[int]:
        """What asks a generative verifier for its verdict on that step; else nothing."""


class SharedTokens:
    """The verifier reads what the generator reads and writes."""

    def prompt(self, message: SearchMessage | ScoreMessage) -> Sequence[int]:
        """The generator's prompt."""
        return message.prompt_ids

    def step(self, ids: Sequence[int], index: int, last: bool) -> Sequence[int]:
        """The generator's tokens."""
        return ids

    def question(self, ids: Sequence[int], index: int) -> Sequence[int]:
        """There is none."""
        return ()


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
        self.tokenizer = tokenizer
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

    def prompt(self, message: SearchMessage | ScoreMessage) -> Sequence[int]:
        """The problem as the family writes it."""
        if message.problem is None:
            raise BadRequest(
                "input_ids",
                f"the verifier (family {self._family.name}) reads text; send prompt or messages",
            )
        assert self._family.prompt is not None
        return self._begin + self.encode(self._family.prompt(message.problem, self.chat))

    def step(self, ids: Sequence[int], index: int, last: bool) -> Sequence[int]:
        """A step as the family writes it, tokenized as it would be within the whole text."""
        assert self._family.step is not None
        text = self._text(ids)
        first, *others = self._family.step(text, index, last, self.chat)
        if self._num_anchor:
            anchored = _ids(self._content, self._family.anchor + first)
            return anchored[self._num_anchor :] + self.encode(others)
        return self.encode((first, *others))

    def question(self, ids: Sequence[int], index: int) -> Sequence[int]:
        """What asks for a verdict, if the family writes any."""
        verdict = self._family.verdict
        if verdict is None:
            return ()
        return self.encode(verdict.question(self._text(ids), index, self.chat))

    def labels(self) -> list[int]:
        """Ids of the family's two labels."""
        return [_ids(self._markup, label)[-1] for label in self._family.labels or ()]

    def encode(self, pieces: Iterable[str]) -> list[int]:
        """Token ids of pieces, each on its own."""
        ids: list[int] = []
        for piece in pieces:
            ids += _ids(self._markup if isinstance(piece, Markup) else self._content, piece)
        return ids

    def chat(self, messages: list[Message], begin: bool) -> str:
        """The checkpoint's chat template."""
        return self._template(tuple((m["role"], m["content"]) for m in messages), begin)

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._generator.decode(list(ids), skip_special_tokens=True)
        return text

    def _check(self) -> None:
        """What is missing is found at the start, not by the first search."""
        family = self._family
        assert family.prompt is not None and family.step is not None
        family.prompt("1+1", self.chat)
        family.step("2", 0, True, self.chat)
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


class VerdictText:
    """Where the verdict of a generative verifier ends."""

    def __init__(self, renderer: TextRenderer, verdict: Verdict) -> None:
        self.num_question = len(renderer.encode(verdict.question("", 0, renderer.chat)))
        self.end = renderer.encode([verdict.end])
        self.labels = renderer.labels()
        self.eos_id: int | None = renderer.tokenizer.eos_token_id
        self._tokenizer = renderer.tokenizer
        self._verdict = verdict

    def has_ended(self, written: Sequence[int]) -> bool:
        """Whether the model has come to the end by itself."""
        return self._tail(written).endswith(self._verdict.end.strip())

    def must_end(self, written: Sequence[int]) -> bool:
        """Whether the end is to be written for the model now."""
        stop = self._verdict.stop
        return bool(stop) and self._tail(written).rstrip().endswith(stop)

    def _tail(self, written: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(written[-16:]))
        return text
