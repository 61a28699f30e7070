"""Rows of searches that share a prefix read its KV once per decode step, on a GPU.

SGLang's Triton backend calls one decode kernel per layer; ours stands in for it. Which rows share
what is told before each batch, in a table that captured CUDA graphs read. Without rows of a search
the table is empty, and every row reads for itself, cut into the same parts as SGLang cuts it.

Not in deterministic mode: a sum over two parts is rounded otherwise than over one, and which rows
run side by side depends on speculation.
"""

from collections.abc import Sequence
from typing import Any

import torch

from ..scheduling.prefix_groups import MOST_PARTS, MOST_WORK, WIDTH, End, group
from .hook import Hook, HookType
from .row import row_of
from .shared_attention_kernel import decode_attention, rows_per_tile
from .usual_layers import is_usual

_PLAIN = {"logit_cap": 0.0, "sinks": None, "has_mla": False, "page_size": 1, "score_mod": None}


class SharedAttention:
    """The decode kernel of one `TritonAttnBackend`.

    Args:
        backend: Its kernel is taken over for layers of the usual kind, and kept for others.
    """

    def __init__(self, backend: Any) -> None:
        self._stock = backend.decode_attention_fwd
        self._kv_heads = backend.num_kv_head
        self._members = rows_per_tile(backend.num_head // backend.num_kv_head)
        size = 1 + MOST_WORK + backend.req_to_token_pool.size * WIDTH
        self._table = torch.zeros(size, dtype=torch.int32, device=backend.device)
        self._work = self._table[: 1 + MOST_WORK]
        self._lines = self._table[1 + MOST_WORK :].view(-1, WIDTH)
        self._used = 0  # lines that are not zero

    def announce(self, reqs: Sequence[Any]) -> None:
        """The decode steps launched from now on are of these requests."""
        groups = group([prefix_end(req) for req in reqs], above, self._members, self._kv_heads)
        used = 0 if groups is None else len(groups.lines)
        if not (used or self._used):
            return
        size = 1 + MOST_WORK + max(used, self._used) * WIDTH
        host = torch.zeros(size, dtype=torch.int32, pin_memory=self._table.is_cuda)
        if groups is not None:
            table = host.numpy()
            groups.put(table[: 1 + MOST_WORK], table[1 + MOST_WORK :].reshape(-1, WIDTH))
        self._table[:size].copy_(host, non_blocking=True)
        self._used = used

    def decode(
        self,
        q: torch.Tensor,
        k_buffer: torch.Tensor,
        v_buffer: torch.Tensor,
        o: torch.Tensor,
        kv_indptr: torch.Tensor,
        kv_indices: torch.Tensor,
        attn_logits: torch.Tensor,
        attn_lse: torch.Tensor,
        num_kv_splits: torch.Tensor,
        max_kv_splits: int,
        sm_scale: float,
        k_scale: float,
        v_scale: float,
        **options: Any,
    ) -> None:
        """See SGLang's `decode_attention_fwd`."""
        usual = is_usual(q, v_buffer, options, _PLAIN)
        if not usual or options.get("xai_temperature_len", -1) > 0:
            head = q, k_buffer, v_buffer, o, kv_indptr, kv_indices, attn_logits, attn_lse
            splits = num_kv_splits, max_kv_splits
            self._stock(*head, *splits, sm_scale, k_scale, v_scale, **options)
            return
        # within a CUDA graph from its own memory, which all layers use in turn
        shape = *q.shape[:2], max_kv_splits + MOST_PARTS
        parts = torch.empty((*shape, q.shape[-1]), dtype=torch.float32, device=q.device)
        sums = torch.empty(shape, dtype=torch.float32, device=q.device)
        decode_attention(
            q,
            k_buffer,
            v_buffer,
            o,
            kv_indptr,
            kv_indices,
            num_kv_splits,
            max_kv_splits,
            self._lines,
            self._work,
            parts,
            sums,
            sm_scale * k_scale,
            v_scale,
            pdl=options.get("use_pdl", False),
        )


def prefix_end(req: Any) -> End:
    """Where the part of a row ends that it has from the radix cache.

    Rows whose paths there go through the same node hold the same KV slots down to it.
    """
    if row_of(req) is None or req.last_node is None:
        return End(None, 0, 0)
    node, cached = req.last_node, req.cache_protected_len
    known = getattr(req, "fasttts_kv", None)
    depth = known.length if known is not None and known.node is node else cached
    return End(node, depth, cached)


def above(node: Any, depth: int) -> tuple[Any, int]:
    """The node above one of the radix cache's, and its depth in tokens."""
    return node.parent, depth - len(node.key)


def take_over(_none: None, backend: Any, *_: Any, **__: Any) -> None:
    """AFTER TritonAttnBackend.__init__: where nothing speaks against it."""
    grouped = backend.num_head // backend.num_kv_head
    usual = (
        grouped > 1
        and rows_per_tile(grouped) > 1
        and backend.dcp_size == 1
        and backend.page_size == 1
        and backend.topk == 0
        and (backend.sliding_window_size or 0) <= 0
        and not backend.use_mla
        and not backend.enable_deterministic
    )
    if usual:
        backend.fasttts_shared = SharedAttention(backend)
        backend.decode_attention_fwd = torch.compiler.disable(backend.fasttts_shared.decode)


def announce(worker: Any, batch: Any, *_: Any, **__: Any) -> None:
    """BEFORE TpModelWorker.forward_batch_generation: tell the kernel who is in the batch."""
    attention = getattr(worker.model_runner.attn_backend, "fasttts_shared", None)
    if attention is not None and batch is not None and batch.forward_mode.is_decode():
        attention.announce(batch.reqs)


SHARED_ATTENTION_HOOKS = (
    Hook(
        "sglang.srt.layers.attention.triton_backend.TritonAttnBackend.__init__",
        ("self", "model_runner"),
        HookType.AFTER,
        take_over,
        "a decode kernel that reads a shared prefix once",
    ),
    Hook(
        "sglang.srt.managers.tp_worker.TpModelWorker.forward_batch_generation",
        ("self", "batch", "forward_batch"),
        HookType.BEFORE,
        announce,
        "which rows of the batch share what",
    ),
)
