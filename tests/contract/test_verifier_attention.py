"""SGLang's Triton backend calls the kernel that it holds, with the arguments that ours takes."""

import ast
import inspect
import textwrap

from sglang.kernels.ops.attention.extend_attention import extend_attention_fwd
from sglang.srt.layers.attention.triton_backend import TritonAttnBackend

from fasttts_sglang.runtime.verifier_attention import VerifierAttention


def test_the_backend_calls_its_extend_kernel_with_what_ours_takes() -> None:
    ours = list(inspect.signature(VerifierAttention.extend).parameters)[1:-1]
    theirs = list(inspect.signature(extend_attention_fwd).parameters)
    assert ours == theirs[: len(ours)]

    source = textwrap.dedent(inspect.getsource(TritonAttnBackend.forward_extend))
    (call,) = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self.extend_attention_fwd"
    ]
    assert len(call.args) == len(ours)  # the scale, the last, is not None there
    assert {keyword.arg for keyword in call.keywords} <= set(theirs[len(ours) :])
