"""Fixtures of the contract suite: those of the parity suite that it shares."""

from __future__ import annotations

from tests.parity.conftest import bench, programs

__all__ = ["bench", "programs"]
