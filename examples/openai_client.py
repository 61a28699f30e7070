"""A search through OpenAI's own client, on a server that is already up.

fasttts serve --model-path fasttts_sglang/models/tiny/generator \\
    --fasttts-verifier-path fasttts_sglang/models/tiny/verifier
python examples/openai_client.py http://localhost:30000
"""

import sys

from openai import OpenAI

from fasttts_sglang.models import tiny_task


def main(url: str, api_key: str = "none") -> None:
    problem = tiny_task.problems(seed=1, count=1, split="heldout")[0]
    client = OpenAI(base_url=f"{url}/v1", api_key=api_key)
    stream = client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": problem}],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"fasttts": {**tiny_task.SEARCH, "algorithm": "beam", "n": 16, "branch": 4}},
    )
    for chunk in stream:
        extra = chunk.model_extra or {}
        if progress := extra.get("fasttts_progress"):
            print(f"round {progress['round']}: best score {progress['best_score']:.3f}")
        elif chunk.usage is not None:
            print(f"{chunk.usage.completion_tokens} tokens")
        else:
            print(chunk.choices[0].delta.content or "", end="")
        if "fasttts" in extra:
            print(f"answer: {extra['fasttts']['answer']} ({tiny_task.true_answer(problem)})")


if __name__ == "__main__":
    main(*sys.argv[1:])
