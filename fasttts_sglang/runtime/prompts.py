"""What a search starts from: a user's text, a chat, or token ids."""

from collections.abc import Sequence
from typing import Any

from ..api.body import RawText
from ..errors import BadRequest

Prompt = str | Sequence[dict[str, Any]] | Sequence[int]
"""A user's text or RawText, chat messages, or token ids that are taken as they are."""


def encode(prompt: Prompt, tokenizer: Any, vocab_size: int) -> list[int]:
    """Token ids of `prompt`, with the chat template where there is one.

    Raises:
        BadRequest: A token is none of the vocabulary's, a text comes without a tokenizer, or the
            chat template refuses the messages.
    """
    if not isinstance(prompt, str) and all(type(token) is int for token in prompt):
        ids: list[int] = list(prompt)  # type: ignore[arg-type]
        if bad := [token for token in ids if not 0 <= token < vocab_size]:
            raise BadRequest("input_ids", f"{bad[0]} is not in [0, {vocab_size - 1}]")
        return ids
    if tokenizer is None:
        raise BadRequest("prompt", "this server has no tokenizer; send input_ids")
    if isinstance(prompt, str):
        if isinstance(prompt, RawText) or getattr(tokenizer, "chat_template", None) is None:
            return list(tokenizer.encode(prompt))
        prompt = [{"role": "user", "content": prompt}]
    try:
        text = tokenizer.apply_chat_template(
            list(prompt), tokenize=False, add_generation_prompt=True
        )
    except Exception as exc:  # templates raise what they like
        raise BadRequest("messages", f"the chat template refused them: {exc}") from exc
    return list(tokenizer.encode(text, add_special_tokens=False))


def problem(prompt: Prompt) -> str | None:
    """What the user asks: the text, or the last message of the user's; None if it is token ids."""
    if isinstance(prompt, str):
        return prompt
    for message in reversed(prompt):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else None
    return None
