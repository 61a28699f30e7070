"""Our Triton kernels compile for GPUs, which the interpreter of the other tests does not show."""

from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fasttts_sglang.runtime import gumbel, shared_attention_kernel, verifier_attention
from fasttts_sglang.runtime.attend_kernel import attend_all
from fasttts_sglang.runtime.merge_kernel import merge

POINTERS = {
    **dict.fromkeys(("queries", "keys", "values", "result", "new_keys", "new_values"), "*bf16"),
    **dict.fromkeys(("parts", "sums", "weights", "temperatures", "best_value"), "*fp32"),
    **dict.fromkeys(("indptr", "starts", "path_starts", "own_splits", "lines", "work"), "*i32"),
    "best_column": "*i32",
    **dict.fromkeys(("indices", "seeds", "positions"), "*i64"),
    **dict.fromkeys(("scale", "value_scale"), "fp32"),
}


class Launched:
    """Takes a launch's place: compiles the kernel for a GPU that is not here."""

    def __init__(self, kernel: Any, capability: int) -> None:
        self.kernel, self.target = kernel, GPUTarget("cuda", capability, 32)
        self.shared_bytes = 0

    def __getitem__(self, _grid: Any) -> Any:
        return self.launch

    def launch(self, *args: Any, launch_pdl: bool = False, **options: Any) -> None:
        params = self.kernel.params
        signature = {
            param.name: "constexpr" if param.is_constexpr else POINTERS.get(param.name, "i32")
            for param in params
        }
        fixed = {p.name: arg for p, arg in zip(params, args, strict=True) if p.is_constexpr}
        source = ASTSource(self.kernel, signature, fixed)
        made = triton.compile(source, target=self.target, options=options)
        self.shared_bytes = made.metadata.shared


@pytest.mark.parametrize("capability", [89, 90])
@pytest.mark.parametrize(("heads", "kv_heads"), [(12, 2), (28, 4)])
def test_decode_attention(
    capability: int, heads: int, kv_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend, merged = Launched(attend_all, capability), Launched(merge, capability)
    monkeypatch.setattr(shared_attention_kernel, "attend_all", attend)
    monkeypatch.setattr(shared_attention_kernel, "merge", merged)
    queries, keys, table = (
        torch.zeros(8, heads, 128),
        torch.zeros(16, kv_heads, 128),
        torch.zeros(1),
    )
    shared_attention_kernel.decode_attention(
        *(queries, keys, keys, queries, table, table, table, 8, table, table, table, table, 1.0),
        pdl=capability >= 90,
    )
    assert 0 < attend.shared_bytes <= 48 << 10  # two programs on a multiprocessor of a small GPU


@pytest.mark.parametrize("capability", [89, 90])
@pytest.mark.parametrize("from_logits", [False, True])
def test_seeded_sampling(
    capability: int, from_logits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gumbel, "_kernel", Launched(gumbel._kernel, capability))
    rows = torch.zeros(4, dtype=torch.int64)
    temperatures = torch.ones(4) if from_logits else None
    gumbel.gumbel_argmax(torch.zeros(4, 20_000), rows, rows, temperatures)


@pytest.mark.parametrize("capability", [89, 90])
@pytest.mark.parametrize(("heads", "kv_heads"), [(12, 2), (28, 4)])
def test_verifier_attention(
    capability: int, heads: int, kv_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Launched(verifier_attention.attend_new, capability)
    monkeypatch.setattr(verifier_attention, "attend_new", kernel)
    queries, keys = torch.zeros(8, heads, 128), torch.zeros(16, kv_heads, 128)
    table = torch.zeros(5, dtype=torch.int32)
    verifier_attention.extend_attention(
        *(queries, keys, keys, queries, keys, keys, table, table, table, 1.0)
    )
    assert 0 < kernel.shared_bytes <= 99 << 10  # what a program on a small GPU may have
