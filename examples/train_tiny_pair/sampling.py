"""Batched sampling from the generator and batched scoring by the verifier.

A plain reference for the evaluation, not the product: every call prefills its prefixes anew.
"""

import numpy as np
import tokens
import torch
from data import pad_right
from network import Verifier
from transformers import DynamicCache, Qwen2ForCausalLM

_COMPACT_EVERY = 16  # steps between looks at which rows have ended (each look waits for the GPU)


@torch.inference_mode()
def sample(
    model: Qwen2ForCausalLM,
    prefixes: list[bytes],
    *,
    temperature: float,
    stop: tuple[int, ...],
    max_new: int,
    rng: torch.Generator,
    rows: int = 8192,
) -> list[bytes]:
    """Return new tokens for each prefix, up to and with the first token in `stop`."""
    order = sorted(range(len(prefixes)), key=lambda i: len(prefixes[i]))
    result: list[bytes] = [b""] * len(prefixes)
    for start in range(0, len(order), rows):
        part = order[start : start + rows]
        new = _sample_batch(model, [prefixes[i] for i in part], temperature, stop, max_new, rng)
        for i, row in zip(part, new, strict=True):
            ends = [at for at in map(row.find, map(lambda s: bytes([s]), stop)) if at >= 0]
            result[i] = row[: min(ends) + 1] if ends else row
    return result


def _sample_batch(
    model: Qwen2ForCausalLM,
    prefixes: list[bytes],
    temperature: float,
    stop: tuple[int, ...],
    max_new: int,
    rng: torch.Generator,
) -> list[bytes]:
    device = model.device
    width = max(map(len, prefixes))
    ids = pad_right([row[::-1] for row in prefixes]).flip(1).to(device)  # padded on the left
    valid = torch.ones(len(prefixes), width + max_new, dtype=torch.bool, device=device)
    valid[:, :width] = ids != tokens.PAD
    positions = (valid[:, :width].cumsum(1) - 1).clamp(min=0)
    out = torch.full((len(prefixes), max_new), tokens.PAD, dtype=torch.uint8, device=device)
    alive = torch.arange(len(prefixes), device=device)
    done = torch.zeros(len(prefixes), dtype=torch.bool, device=device)
    stops = torch.tensor(stop, device=device)
    cache = DynamicCache()
    logits = model(
        input_ids=ids,
        attention_mask=valid[:, :width].long(),
        position_ids=positions,
        past_key_values=cache,
        logits_to_keep=1,
    ).logits[:, -1]
    position = positions[:, -1:]
    for step in range(max_new):
        token = _draw(logits, temperature, rng)
        out[alive, step] = token.to(torch.uint8)
        done |= torch.isin(token, stops)
        if step % _COMPACT_EVERY == _COMPACT_EVERY - 1:
            keep = (~done).nonzero()[:, 0]
            if len(keep) == 0:
                break
            if len(keep) < 0.8 * len(done):
                cache.batch_select_indices(keep)
                alive, done, valid = alive[keep], done[keep], valid[keep]
                position, token = position[keep], token[keep]
        if step == max_new - 1:
            break
        position = position + 1
        logits = model(
            input_ids=token[:, None],
            attention_mask=valid[:, None, None, : width + step + 1],
            position_ids=position,
            past_key_values=cache,
        ).logits[:, -1]
    return [row.tobytes().rstrip(bytes([tokens.PAD])) for row in out.cpu().numpy()]


def _draw(logits: torch.Tensor, temperature: float, rng: torch.Generator) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    noise = torch.empty_like(logits, dtype=torch.float32).exponential_(generator=rng)
    return (logits.float() / temperature - noise.log()).argmax(-1)


@torch.inference_mode()
def step_scores(verifier: Verifier, rows: list[bytes], starts: list[int]) -> list[list[float]]:
    """Return each row's step scores: the probability at the last token of every step.

    Args:
        rows: Prompt and response ids.
        starts: Where each row's response starts. A row that ends in the middle of a step (cut by
            a length cap) has that step scored at its last token.
    """
    device = next(verifier.parameters()).device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    result: list[list[float]] = [[] for _ in rows]
    for start in range(0, len(order), 2048):
        part = order[start : start + 2048]
        scores = verifier(pad_right([rows[i] for i in part]).to(device)).float().sigmoid().cpu()
        for i, row in zip(part, scores.numpy(), strict=True):
            result[i] = row[step_ends(rows[i], starts[i])].tolist()
    return result


def step_ends(row: bytes, start: int) -> np.ndarray:
    """Return the positions in `row` of the last token of each step of the response."""
    ids = np.frombuffer(row, dtype=np.uint8)
    at = np.flatnonzero((ids == tokens.STEP) | (ids == tokens.EOS))
    at = at[at >= start]
    if len(row) > start and (len(at) == 0 or at[-1] != len(row) - 1):
        at = np.append(at, len(row) - 1)
    return at
