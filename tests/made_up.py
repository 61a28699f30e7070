"""A search result with its tree and timeline, made without models from a seed."""

import random
from functools import cache

from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.answers import select
from fasttts_sglang.search.core import Finish, Node, Path, Round, resume, start
from fasttts_sglang.search.params import SearchParams
from fasttts_sglang.search.result import Candidate, Fate, SearchResult, Step, TreeNode, Usage
from fasttts_sglang.telemetry.timeline import Span

TOKEN_S = 0.01


@cache
def search_result(n: int = 8, text: str = "step", problem: str = "1+1") -> SearchResult:
    """A beam search of width `n`, some of whose slots decode ahead.

    Args:
        text: What every step says, followed by its path.
    """
    rng = random.Random(n)
    params = SearchParams(n=n, branch=4, max_steps=6, selection="weighted", timeline=True)
    steps: dict[Path, Step] = {}
    nodes: dict[Path, TreeNode] = {}
    spans: list[Span] = []
    number, now = 0, 0.0

    def decode(path: Path, score: float | None, begin: float, requested: float | None) -> float:
        length = rng.randint(2, 9)
        steps[path] = Step(f"{text} {path}\n\n", tuple(range(length)), score)
        spans.append(Span(path, begin, begin + length * TOKEN_S, requested))
        return spans[-1].end_s

    search = make(params)
    state = start(search)
    while isinstance(state, Round):
        number, begun = number + 1, now
        children = []
        for expand in state.expansions:
            for index in range(expand.num_children):
                path = (*expand.node.path, index)
                score = rng.random()
                ended = len(path) > 2 and rng.random() < 0.3
                early = TOKEN_S if begun and rng.random() < 0.3 else 0.0
                now = max(now, decode(path, score, begun - early, begun))
                finish = Finish.EOS if ended else Finish.STOP
                children.append(Node(path, (*expand.node.scores, score), 1, finish))
        survivors = state.decide(children)
        kept = {node.path for node in survivors}
        for node in children:
            fate = Fate.KEPT if node.path in kept else Fate.PRUNED
            nodes[node.path] = TreeNode(node.path, (steps[node.path],), fate, node.finish, number)
        for node in children[::4]:
            if node.path not in kept:
                path = (*node.path, 0)
                now = max(now, decode(path, None, now, None))
                nodes[path] = TreeNode(path, (steps[path],), Fate.WASTED, None, None)
        state = resume(search, survivors)
    candidates = [_candidate(node, steps, number) for number, node in enumerate(state)]
    choice = select(candidates, params.chosen_by)
    asked = [node for node in nodes.values() if node.round is not None]
    wasted = sum(node.num_tokens for node in nodes.values() if node.round is None)
    tokens = sum(node.num_tokens for node in asked)
    return SearchResult(
        id="made-up",
        answer=choice.answer,
        best=choice.best,
        candidates=tuple(candidates),
        votes=choice.votes,
        usage=Usage(5, tokens, tokens, 0, number, len(asked), tokens, 0, wasted),
        timing={"total_s": now, "verifier_s": 0.0},
        params=params.to_dict(),
        timeline=tuple(spans),
        nodes=tuple(nodes[path] for path in sorted(nodes)),
        problem=problem,
    )


def _candidate(node: Node, steps: dict[Path, Step], number: int) -> Candidate:
    own = tuple(steps[node.path[:depth]] for depth in range(1, len(node.path) + 1))
    texts = "".join(step.text for step in own)
    return Candidate(node.path, texts, own, node.scores[-1], node.finish, str(number % 3), 1)
