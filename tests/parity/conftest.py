"""Fixtures of the parity suite."""

from __future__ import annotations

import os
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
def small_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small `.pt2` programs to be quantized; `torch_shop.py` has them."""
    folder = tmp_path_factory.mktemp("small_programs")
    subprocess.run(
        [sys.executable, "-m", "tests.parity.torch_shop", str(folder)],
        cwd=Path(__file__).resolve().parents[2],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def torch_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small PyTorch files of every form, hostile ones among them; see `torch_zoo.py`."""
    folder = tmp_path_factory.mktemp("torch_zoo")
    script = Path(__file__).with_name("torch_zoo.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def sklearn_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small scikit-learn models, hostile and broken ones among them; `sklearn_zoo.py`."""
    folder = tmp_path_factory.mktemp("sklearn_zoo")
    subprocess.run(
        [sys.executable, "-m", "tests.parity.sklearn_zoo", str(folder)],
        cwd=Path(__file__).resolve().parents[2],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def keras_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small Keras files and SavedModels, hostile ones among them; `keras_zoo.py`."""
    folder = tmp_path_factory.mktemp("keras_zoo")
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("keras_zoo.py")), str(folder)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
        capture_output=True,
    )
    return folder
