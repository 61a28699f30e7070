"""What a replayed search needs, worked out without any model. Pure.

Step lengths, scores and ends of a replay follow from seed and path, so the same algorithm run
against them alone tells which nodes every system must decode and score, and which it must return.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.core import Expand, Finish, Node, Path, drive
from fasttts_sglang.search.params import SearchParams
from fasttts_sglang.search.replay import Replay, ReplaySpec


@dataclass(frozen=True, slots=True)
class Work:
    """The least that any system computes for one search. Tokens."""

    candidates: tuple[Path, ...]  # what is returned, best first
    tokens: int  # decoded: every step that a round asks for, once
    chain_tokens: int  # the longest chain of steps of which each needs the one before
    verifier_tokens: int  # the prompt and every step, once


def work(spec: ReplaySpec, params: SearchParams, prompt_tokens: int) -> Work:
    """Run the search against the replay alone.

    Every node that a round asks for counts, not only those that survive: without its score the
    round cannot be decided.

    >>> work(ReplaySpec(min_steps=1, max_steps=1, sigma=0), SearchParams(n=4), 10)
    Work(candidates=((0,), (3,), (2,), (1,)), tokens=280, chain_tokens=70, verifier_tokens=290)
    """
    replay = Replay(spec, params.seed)
    tokens = chain = 0

    def expand(expansions: Sequence[Expand]) -> list[Node]:
        nonlocal tokens, chain
        children = []
        for expansion in expansions:
            parent = expansion.node
            left = params.max_tokens - parent.num_tokens
            for index in range(expansion.num_children):
                path = (*parent.path, index)
                own = min(left, replay.step_tokens(path))
                finish = Finish.LENGTH if own == left else replay.finish(path)
                scores = (*parent.scores, replay.score(path))
                children.append(Node(path, scores, parent.num_tokens + own, finish))
                tokens += own
                chain = max(chain, parent.num_tokens + own)
        return children

    found = drive(make(params), expand)
    return Work(tuple(node.path for node in found), tokens, chain, prompt_tokens + tokens)
