"""Our metrics on SGLang's /metrics, and the dashboard that shows them."""

import json
import re
import time
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from .serving import KEY, SEARCH

DASHBOARD = Path(__file__).parents[3] / "examples" / "grafana" / "fasttts.json"
STATES = ("used", "cached", "free")


def metrics(url: str) -> dict[str, float]:
    """Value by name and labels but the model's, as in "fasttts_searches_total beam ok"."""
    text = requests.get(f"{url}/metrics", timeout=10).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {
        " ".join([s.name, *(v for k, v in sorted(s.labels.items()) if k != "model_name")]): s.value
        for s in samples
        if s.name.startswith("fasttts_") or s.name == "sglang:token_usage"
    }


def rise(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after[name] - before.get(name, 0.0)


def test_a_search_is_counted(url: str) -> None:
    before = metrics(url)
    result = requests.post(f"{url}/fasttts/search", json=SEARCH, headers=KEY).json()
    refused = requests.post(f"{url}/fasttts/search", json={**SEARCH, "n": 128}, headers=KEY)
    assert refused.status_code == 400
    time.sleep(2.5)  # the scheduler publishes its state once a second
    after, usage = metrics(url), result["usage"]
    assert rise(before, after, "fasttts_searches_total beam ok") == 1
    assert rise(before, after, "fasttts_searches_total beam refused") == 1
    assert rise(before, after, "fasttts_search_seconds_count beam") == 1
    assert rise(before, after, "fasttts_completion_tokens_total") == usage["completion_tokens"]
    for outcome in ("kept", "wasted"):
        name = f"fasttts_speculated_tokens_total {outcome}"
        assert rise(before, after, name) == usage[f"speculated_{outcome}"]
    again = rise(before, after, "fasttts_recomputed_tokens_total generator")
    assert again == usage["recomputed_tokens"]
    restored = rise(before, after, "fasttts_restored_tokens_total generator")
    assert restored == usage["restored_tokens"]
    assert after["fasttts_searches_in_flight"] == 0
    assert after["fasttts_scheduler_searches running"] == 0
    assert after["fasttts_verifier_seconds_total"] > 0
    for name in ("generator", "verifier"):
        pool = {state: after[f"fasttts_{name}_kv_tokens {state}"] for state in STATES}
        assert pool["used"] == 0
        assert pool["cached"] > 0
        assert sum(pool.values()) == after[f"fasttts_planned_kv_tokens {name}"]
        assert after[f"fasttts_planned_round_seconds {name}"] > 0


def test_the_dashboard_asks_for_metrics_that_exist(url: str) -> None:
    requests.post(f"{url}/fasttts/search", json=SEARCH, headers=KEY)
    exported = {name.split()[0] for name in metrics(url)}
    asked = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            asked |= set(re.findall(r"(?:fasttts_|sglang:)\w+", target["expr"]))
    assert len(asked) > 8
    assert asked <= exported
