"""Measurements, never assertions: run by hand, reported under reports/."""
