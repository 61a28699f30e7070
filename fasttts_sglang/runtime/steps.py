"""Where a reasoning step ends inside a stream of token ids."""

from collections.abc import Sequence
from typing import Any

from ..search.core import Finish

_TAIL = 8  # tokens decoded to recognise a stop string that spans several of them


class StepEnds:
    """Finds step boundaries: stop strings, stop token ids, or a token count.

    A stop string can begin in one token and end in another, or sit inside one ("."+two newlines),
    so candidates are found by text. Only a token that contains the last character of a stop
    string can complete it; that is looked up once per token id, so most tokens cost one lookup.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop: Sequence[str],
        stop_token_ids: Sequence[int],
        step_tokens: int | None,
        eos_token_ids: Sequence[int],
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop) if tokenizer is not None else ()
        self._last = {text[-1] for text in self._stop}
        self._stop_ids = frozenset(stop_token_ids)
        self._eos_ids = frozenset(eos_token_ids)
        self._step_tokens = step_tokens
        self._may_end: dict[int, bool] = {}
        self.plain: set[int] = set()  # tokens looked at that end neither a step nor the answer

    def is_boundary(self, ids: Sequence[int], begin: int, end: int) -> bool:
        """Whether the step ids[begin:end] is complete. No earlier boundary lies inside it."""
        token = ids[end - 1]
        if token in self._stop_ids or (self._step_tokens and end - begin >= self._step_tokens):
            return True
        if not self._can_end(token):
            return False
        tail = self._tokenizer.decode(list(ids[max(begin, end - _TAIL) : end]))
        return any(text in tail for text in self._stop)

    def is_plain(self, token: int) -> bool:
        """Whether `token` can end nothing; remembered in `plain`."""
        if token in self.plain:
            return True
        if token in self._stop_ids or token in self._eos_ids or self._can_end(token):
            return False
        self.plain.add(token)
        return True

    def is_eos(self, token: int) -> bool:
        """Whether `token` ends the answer."""
        return token in self._eos_ids and token not in self._stop_ids

    def split(self, ids: Sequence[int], begin: int) -> list[int]:
        """Ends of the steps in ids[begin:], the last of them always len(ids)."""
        ends = []
        for end in range(begin + 1, len(ids) + 1):
            if self.is_boundary(ids, begin, end):
                ends.append(end)
                begin = end
        if begin < len(ids):
            ends.append(len(ids))
        return ends

    def finish(self, ids: Sequence[int], begin: int, *, full: bool) -> Finish:
        """Why a row that ended with ids[begin:] ended; `full` if the path has no budget left.

        SGLang checks the length first, so a boundary or EOS on the very last token would be
        reported as a length stop. The tokens decide here.
        """
        if self.is_eos(ids[-1]):
            return Finish.EOS
        if not full and self.is_boundary(ids, begin, len(ids)):
            return Finish.STOP
        return Finish.LENGTH

    def _can_end(self, token: int) -> bool:
        known = self._may_end.get(token)
        if known is None:
            text = self._tokenizer.decode([token]) if self._stop else ""
            known = self._may_end[token] = any(char in text for char in self._last)
        return known
