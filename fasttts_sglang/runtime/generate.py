"""Ordinary generation in this process, by the same request that the /generate route takes."""

from typing import Any

from sglang.srt.managers.io_struct import GenerateReqInput


async def generate(manager: Any, body: dict[str, Any]) -> Any:
    """Ask a TokenizerManager for a generation.

    Args:
        body: As /generate takes it.

    Returns:
        Its reply, or for a stream an asynchronous iterator of replies.
    """
    replies = manager.generate_request(GenerateReqInput(**body), None)
    return replies if body.get("stream") else await anext(replies)
