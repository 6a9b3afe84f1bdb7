"""Judging: pure functions from measured figures to verdicts."""
