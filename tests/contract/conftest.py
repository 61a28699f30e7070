"""Contract tests import SGLang, which needs its stand-ins on a machine without a GPU."""

from fasttts_sglang.runtime import cpu

cpu.prepare()
