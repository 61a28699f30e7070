"""The environment of test programs that boot engines of their own."""

import os


def without_engine() -> dict[str, str]:
    """This process's, without what an engine of ours that was booted in it has set.

    That has told SGLang to import its own model's code only.
    """
    return {name: v for name, v in os.environ.items() if name != "SGLANG_DISABLED_MODEL_ARCHS"}
