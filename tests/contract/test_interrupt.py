"""Ctrl-C and a killed parent: the right exit code, no child left, no file written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.framework


@pytest.fixture
def converting(sample_models: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A conversion whose first child has started."""
    model = sample_models / "digits_resnet" / "built" / "digits_resnet.pt2"
    command = [sys.executable, "-m", "edgekit", "convert", str(model), "--to", "executorch"]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "m.pte")], stderr=subprocess.PIPE, text=True
    )
    while not children_of(process.pid):
        time.sleep(0.02)
    yield process
    process.kill()
    process.communicate()


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def gone(pids: list[int]) -> bool:
    for _ in range(250):
        if not any(is_running(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_and_writes_nothing(
    converting: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    children = children_of(converting.pid)
    converting.send_signal(number)
    _, shown = converting.communicate(timeout=30)
    assert converting.returncode == 130
    assert "Traceback" not in shown
    assert gone(children)
    assert list(tmp_path.iterdir()) == []


def test_children_end_with_a_killed_parent(
    converting: subprocess.Popen[str], tmp_path: Path
) -> None:
    children = children_of(converting.pid)
    os.kill(converting.pid, signal.SIGKILL)
    assert gone(children)
    assert list(tmp_path.iterdir()) == []
