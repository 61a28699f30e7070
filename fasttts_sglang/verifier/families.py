"""Families of process reward models: what they read and where their scores stand.

A family is data plus two pure functions; all model work is the runtime's. How the model's output
becomes a score follows from the checkpoint's architecture (`runtime/prm_models.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from . import formats
from .formats import Chat, Pieces

AUTO = "auto"
CONFIG_KEY = "fasttts_prm_family"
"""A checkpoint's config.json may name its family."""

_LANGUAGE_MODEL = "ForCausalLM"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a generative verifier is brought to its verdict on the steps so far.

    The score is the probability of the first of two labels, right after the verdict's end.
    """

    question: Callable[[str, int, Chat], Pieces]  # the step and what asks for a verdict on it
    end: str  # the end of a verdict; the labels follow
    stop: tuple[str, ...] = ()  # texts after which the end is written for the model


@dataclass(frozen=True, slots=True)
class Family:
    """One way to ask a model for step scores.

    `prompt` and `step` are None where the verifier reads the generator's own tokens.
    """

    name: str
    architectures: tuple[str, ...]  # a name that begins with For: whatever ends so
    prompt: Callable[[str, Chat], Pieces] | None = None
    step: Callable[[str, int, bool, Chat], Pieces] | None = None  # text, index, last of an answer
    labels: tuple[str, str] | None = None  # a language model's tokens for right and wrong
    begins_sequence: bool = False  # the tokenizer's BOS stands before the prompt
    verdict: Verdict | None = None  # it writes before it judges
    marker: str = ""  # must be one token of the verifier
    anchor: str = ""  # text before a piece, without which a tokenizer would write it otherwise

    @property
    def shares_tokens(self) -> bool:
        """Whether the verifier reads the generator's tokens."""
        return self.step is None

    def fits(self, architecture: str) -> bool:
        """Whether a checkpoint of that architecture can be of this family."""
        return any(
            architecture == name or (name.startswith("For") and architecture.endswith(name))
            for name in self.architectures
        )


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "skywork",
            ("Qwen2ForPrmModel",),
            formats.skywork_prompt,
            formats.skywork_step,
            begins_sequence=True,
        ),
        Family(
            "qwen-math-prm",
            ("Qwen2ForProcessRewardModel",),
            formats.qwen_prompt,
            formats.marked_step,
            marker=formats.STEP_MARKER,
        ),
        Family(
            "reasonflux",
            ("Qwen2ForProcessRewardModel",),
            formats.user_prompt,
            formats.marked_step,
            marker=formats.STEP_MARKER,
        ),
        Family(
            "pure",
            ("Qwen2ForTokenClassification",),
            formats.user_prompt,
            formats.line_step,
        ),
        Family(
            "math-shepherd",
            (_LANGUAGE_MODEL,),
            formats.shepherd_prompt,
            formats.shepherd_step,
            labels=("+", "-"),
            begins_sequence=True,
            anchor="\n",
        ),
        Family(
            "rlhflow",
            (_LANGUAGE_MODEL,),
            formats.rlhflow_prompt,
            formats.rlhflow_step,
            labels=("+", "-"),
        ),
        Family(
            "thinkprm",
            (_LANGUAGE_MODEL,),
            formats.think_prompt,
            formats.think_step,
            labels=(" Yes", " No"),
            verdict=Verdict(formats.think_question, formats.THINK_END),
        ),
        Family(
            "genprm",
            (_LANGUAGE_MODEL,),
            formats.gen_prompt,
            formats.gen_step,
            labels=("Yes", "No"),
            verdict=Verdict(formats.gen_question, formats.GEN_END, stop=("</analyze>",)),
        ),
        Family(
            "outcome",
            ("ForSequenceClassification",),
            formats.user_prompt,
            formats.outcome_step,
        ),
        Family("shared-tokens", ("Qwen2ForPrmModel", "Qwen2ForProcessRewardModel")),
    )
}


def family_for(config: Mapping[str, Any], name: str = AUTO) -> Family:
    """The family called `name`, or with "auto" the one of the checkpoint.

    Args:
        config: The checkpoint's config.json.
        name: Of a family, or "auto": what CONFIG_KEY says, else by the architecture.

    Raises:
        ConfigError: There is none, or it does not fit; the message lists what is known.
    """
    if name == AUTO:
        name = config.get(CONFIG_KEY, AUTO)
    if name != AUTO and name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ConfigError(f"--fasttts-prm-family {name} is unknown; known are {known}")
    architectures = config.get("architectures") or ()
    fitting = [f for f in FAMILIES.values() if any(map(f.fits, architectures))]
    shown = ", ".join(architectures) or "?"
    if name != AUTO:
        if FAMILIES[name] not in fitting:
            raise ConfigError(
                f"--fasttts-prm-family {name} reads {', '.join(FAMILIES[name].architectures)};"
                f" the checkpoint's architecture is {shown}"
            )
        return FAMILIES[name]
    by_name = [f for f in fitting if _LANGUAGE_MODEL not in f.architectures]
    if by_name:
        return by_name[0]
    if fitting:
        names = " or ".join(family.name for family in fitting)
        raise ConfigError(
            f"--fasttts-verifier-path: {shown} is a language model; if it is a reward model,"
            f" say of which family by --fasttts-prm-family {names}"
        )
    known = ", ".join(sorted({a for family in FAMILIES.values() for a in family.architectures}))
    raise ConfigError(
        f"--fasttts-verifier-path: the checkpoint's architecture {shown}"
        f" is no process reward model we know; known are {known}"
    )
