"""How the families of reward models want a problem and its steps written.

`prompt` gives what stands before the first step, `step` what a step adds; the model is read at the
last token of a step's last piece. Both are pure. A piece is tokenized on its own: in a `Markup`
special tokens count, in a plain string, which the generator or a client wrote, they never do.
"""

from collections.abc import Callable

from ..errors import ConfigError

Message = dict[str, str]
Chat = Callable[[list[Message], bool], str]
"""A chat template: messages, and whether the assistant's next turn is begun, to text."""

MATH_SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
STEP_MARKER = "<extra_0>"

_HOLE = "\N{WHITE SQUARE}fasttts\N{WHITE SQUARE}"  # stands for a text while the template is applied


class Markup(str):
    """Text in which special tokens count."""

    __slots__ = ()


Pieces = tuple[str, ...]


def shepherd_prompt(problem: str, _: Chat) -> Pieces:
    """Math-Shepherd: the question and a line break.

    Source: peiyi9979/math-shepherd-mistral-7b-prm, as search-and-learn prompts it.
    """
    return (problem.strip() + "\n",)


def shepherd_step(text: str, index: int, _last: bool, _: Chat) -> Pieces:
    """The step and its marker."""
    return (("\n\n" if index else " ") + text.strip() + " ки",)


def rlhflow_prompt(problem: str, chat: Chat) -> Pieces:
    """RLHFlow: a conversation in which the user tells steps and the assistant answers + or -.

    Source: RLHFlow/RLHF-Reward-Modeling, math-rm.
    """
    return Markup(_rlhflow(chat)[0]), problem.strip()


def rlhflow_step(text: str, index: int, _last: bool, chat: Chat) -> Pieces:
    """The user's turn, up to where the assistant's verdict is due."""
    _, verdict_due, next_turn = _rlhflow(chat)
    if index == 0:  # goes on with the turn that the question began
        return " " + text.strip(), Markup(verdict_due)
    return Markup("+" + next_turn), text.strip(), Markup(verdict_due)


def _rlhflow(chat: Chat) -> tuple[str, str, str]:
    """Before the first user's text, between a user's text and the verdict, after the verdict."""
    user, verdict = {"role": "user", "content": _HOLE}, {"role": "assistant", "content": "+"}
    begin, between, _ = _split(chat([user, verdict, user, verdict], False), 2)
    verdict_due, plus, next_turn = between.partition("+")
    if not plus:
        raise ConfigError("--fasttts-prm-family: the chat template hides the assistant's turn")
    return begin, verdict_due, next_turn


def qwen_prompt(problem: str, chat: Chat) -> Pieces:
    """Qwen2.5-Math-PRM and PRM800K: a chat with the system prompt of Qwen2.5-Math.

    Source: the model card of Qwen/Qwen2.5-Math-PRM-7B.
    """
    return _chat_prompt([{"role": "system", "content": MATH_SYSTEM}], problem, chat)


def user_prompt(problem: str, chat: Chat) -> Pieces:
    """A chat that the user begins."""
    return _chat_prompt([], problem, chat)


def _chat_prompt(before: list[Message], problem: str, chat: Chat) -> Pieces:
    text = chat([*before, {"role": "user", "content": _HOLE}], True)
    begin, end = _split(text, 1)
    return Markup(begin), problem.strip(), Markup(end)


def marked_step(text: str, _index: int, _last: bool, _: Chat) -> Pieces:
    """The step and the marker token of Qwen2.5-Math-PRM."""
    return text.strip(), Markup(STEP_MARKER)


def line_step(text: str, _index: int, _last: bool, _: Chat) -> Pieces:
    """The step and a line break that is a token of its own.

    Source: the model card of jinachris/PURE-PRM-7B.
    """
    return text.strip(), "\n"


def skywork_prompt(problem: str, _: Chat) -> Pieces:
    """Skywork-o1-Open-PRM: no chat template.

    Source: SkyworkAI/skywork-o1-prm-inference.
    """
    return (problem.strip() + "\n",)


def skywork_step(text: str, _index: int, _last: bool, _: Chat) -> Pieces:
    """Every line and its break tokenized apart; the break after the last one is what is read."""
    return tuple(piece for line in text.strip().split("\n") for piece in (line, "\n"))


THINK_END = "\nIs the solution correct?"
_THINK_BEGIN = (
    "You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]\n\n"
)
_THINK_TASK = (
    "Review and critique each step in the proposed solution to determine whether each step is"
    " correct. If the solution is incomplete, only verify the provided steps."
)


def think_prompt(problem: str, chat: Chat) -> Pieces:
    """ThinkPRM: one user turn with the problem and the solution so far.

    Source: mukhal/ThinkPRM, the template of the paper (arXiv:2504.16828).
    """
    begin, _ = _split(chat([{"role": "user", "content": _HOLE}], True), 1)
    return Markup(begin), f"{_THINK_BEGIN}{problem.strip()}\n\n[Solution]\n\n"


def think_step(text: str, index: int, _last: bool, _: Chat) -> Pieces:
    """A numbered step and a line break."""
    return (_numbered(text, index) + "\n",)


def think_question(text: str, index: int, chat: Chat) -> Pieces:
    """The step, the task, and the assistant's turn begins."""
    _, end = _split(chat([{"role": "user", "content": _HOLE}], True), 1)
    return f"{_numbered(text, index)}\n\n{_THINK_TASK}", Markup(end)


def _numbered(text: str, index: int) -> str:
    text = text.strip()
    return text if text.startswith("Step ") else f"Step {index + 1}: {text}"


GEN_END = "\n<output>\n**Judgement**: $\\boxed{"
_GEN_SYSTEM = (
    "You are a math teacher. Your task is to review and critique the paragraphs in solution step"
    " by step."
)


def gen_prompt(problem: str, chat: Chat) -> Pieces:
    """GenPRM: the user tells paragraph after paragraph, the assistant judges each.

    Source: RyanLiu112/GenPRM (arXiv:2504.00891). Judgements on earlier paragraphs are taken to be
    Yes and not written out, and no code that the verifier writes is run.
    """
    begin, _, _ = _gen(chat)
    return Markup(begin), f"Question: {problem.strip()}"


def gen_step(text: str, index: int, _last: bool, chat: Chat) -> Pieces:
    """The paragraph, after the judgement on the one before."""
    _, judgement, _ = _gen(chat)
    if index == 0:
        return ("\n\n" + text.strip(),)
    return Markup(judgement), text.strip()


def gen_question(text: str, index: int, chat: Chat) -> Pieces:
    """The paragraph, and the assistant's turn begins with its analysis."""
    _, _, turn = _gen(chat)
    return *gen_step(text, index, False, chat), Markup(turn), "<analyze>\n"


def _gen(chat: Chat) -> tuple[str, str, str]:
    """Before the first user's text, from there to the next one's, the assistant's turn begun."""
    system, user = {"role": "system", "content": _GEN_SYSTEM}, {"role": "user", "content": _HOLE}
    judged = {"role": "assistant", "content": GEN_END.strip() + "Yes}$\n</output>"}
    begin, between, turn = _split(chat([system, user, judged, user], True), 2)
    return begin, between, turn


def outcome_step(text: str, _index: int, last: bool, chat: Chat) -> Pieces:
    """An outcome reward model reads a whole answer at the end of the assistant's turn.

    What is not finished yet is read at its last token so far.
    """
    if not last:
        return (text,)
    user, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": _HOLE}
    return text.rstrip(), Markup(_split(chat([user, answer], False), 1)[1].rstrip())


def _split(text: str, holes: int) -> list[str]:
    parts = text.split(_HOLE)
    if len(parts) != holes + 1:
        raise ConfigError(
            "--fasttts-prm-family: the checkpoint's chat template does not show every message"
        )
    return parts
