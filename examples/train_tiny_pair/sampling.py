"""Batched sampling from the generator, for the rollouts that the verifier learns from."""

import tokens
import torch
from data import Example, pad_right
from decoding import GROUPED, roomy_cache
from transformers import Qwen2ForCausalLM

_COMPACT_EVERY = 8  # steps between looks at which rows have ended (each look waits for the GPU)


@torch.inference_mode()
def sample(
    model: Qwen2ForCausalLM,
    prefixes: list[bytes],
    *,
    temperature: float,
    stop: tuple[int, ...],
    max_new: int,
    rng: torch.Generator,
) -> list[bytes]:
    """Return new tokens for each prefix, up to and with the first token in `stop`."""
    rows = 8192 if model.device.type == "cuda" else 64
    model.set_attn_implementation(GROUPED)
    order = sorted(range(len(prefixes)), key=lambda i: len(prefixes[i]))
    result: list[bytes] = [b""] * len(prefixes)
    for start in range(0, len(order), rows):
        part = order[start : start + rows]
        new = _sample_batch(model, [prefixes[i] for i in part], temperature, stop, max_new, rng)
        for i, row in zip(part, new, strict=True):
            ends = [at for at in map(row.find, (bytes([s]) for s in stop)) if at >= 0]
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
    cache = roomy_cache(model.config.num_hidden_layers, max_new)
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
def sample_along(
    model: Qwen2ForCausalLM,
    golds: list[Example],
    *,
    temperature: float,
    max_after_slip: int,
    rng: torch.Generator,
) -> list[bytes]:
    """Return one sampled response per gold trace, decoding only what follows its first slip.

    Up to its first wrong token a response equals the gold trace, so one pass over the gold trace
    draws that part for all positions at once, from exactly the model's distribution. What follows
    the slip is decoded, `max_after_slip` tokens at most.
    """
    result = [gold.ids[gold.prompt_len :] for gold in golds]
    order = sorted(range(len(golds)), key=lambda i: len(golds[i].ids))
    per_pass = 256 if model.device.type == "cuda" else 16
    for start in range(0, len(order), per_pass):
        part = order[start : start + per_pass]
        ids = pad_right([golds[i].ids for i in part]).to(model.device)
        drawn = _draw(model(input_ids=ids, use_cache=False).logits[:, :-1], temperature, rng)
        at = torch.arange(1, ids.shape[1], device=ids.device)
        first = torch.tensor([golds[i].prompt_len for i in part], device=ids.device)[:, None]
        wrong = (drawn != ids[:, 1:]) & (at >= first) & (ids[:, 1:] != tokens.PAD)
        where = torch.where(wrong.any(1), wrong.int().argmax(1), -1)
        token = drawn.gather(1, where.clamp(min=0)[:, None])[:, 0]
        for i, slip, new in zip(part, where.tolist(), token.tolist(), strict=True):
            if slip >= 0:
                result[i] = golds[i].ids[golds[i].prompt_len : slip + 1] + bytes([new])
    slipped = [i for i in order if result[i][-1] != tokens.EOS]
    after = sample(
        model,
        [golds[i].ids[: golds[i].prompt_len] + result[i] for i in slipped],
        temperature=temperature,
        stop=(tokens.EOS,),
        max_new=max_after_slip,
        rng=rng,
    )
    for i, new in zip(slipped, after, strict=True):
        result[i] += new
    return result
