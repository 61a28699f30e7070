"""Families of process reward models: what they read and where their scores stand.

A family is data plus pure functions; all model work is the runtime's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True, slots=True)
class Family:
    """One way to ask a model for step scores.

    The score of a step stands at the step's last token.
    """

    name: str
    architectures: tuple[str, ...]
    render_prompt: Callable[[str], str] | None  # the user's problem as the verifier wants it;
    # None: the verifier reads the generator's own prompt


FAMILIES = {
    family.name: family
    for family in (
        # Skywork-o1-Open-PRM's layout; a scalar head and a sigmoid
        Family("value-head", ("Qwen2ForPrmModel",), None),
    )
}

AUTO = "auto"


def family_for(architectures: Sequence[str], name: str = AUTO) -> Family:
    """The family called `name`, or with "auto" the one that knows the checkpoint's architecture.

    Raises:
        ConfigError: There is none; the message lists what is known.
    """
    if name != AUTO:
        if name not in FAMILIES:
            known = ", ".join(sorted(FAMILIES))
            raise ConfigError(f"--fasttts-verifier-family {name} is unknown; known are {known}")
        return FAMILIES[name]
    for family in FAMILIES.values():
        if set(family.architectures) & set(architectures):
            return family
    known = ", ".join(sorted(a for family in FAMILIES.values() for a in family.architectures))
    raise ConfigError(
        f"--fasttts-verifier-path: the checkpoint's architecture {', '.join(architectures) or '?'}"
        f" is no process reward model we know; known are {known}"
    )
