"""Fixtures of the parity suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.worker.client import Workers
from tests.parity.edge_cells import Bench


@pytest.fixture
def bench(workers: Workers, tmp_path: Path) -> Bench:
    """One backend at a time, on warm children."""
    return Bench(workers=workers, folder=tmp_path)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small `.pt2` programs, each with a trap in it; `edge_programs.py` has them."""
    folder = tmp_path_factory.mktemp("programs")
    script = Path(__file__).with_name("edge_programs.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def torch_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small PyTorch files of every form, hostile ones among them; see `torch_zoo.py`."""
    folder = tmp_path_factory.mktemp("torch_zoo")
    script = Path(__file__).with_name("torch_zoo.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder
