"""Hypothesis: the same examples in every run, and no verdict from a slow machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fasttts",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fasttts")
