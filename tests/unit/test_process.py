"""A child and its log."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgekit.process import open_child, python_command
from edgekit.worker.client import child_environment

TALKER = """
import os, sys
for line in sys.stdin:
    print("x" * 300_000, flush=True)
    os.write(int(os.environ["EDGEKIT_REPLY_FD"]), b"done\\n")
"""


def test_a_child_that_prints_is_not_kept_waiting_by_a_log_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    folder.mkdir()
    command = python_command("-c", TALKER)
    with open_child(command, environment=child_environment({}), log=folder / "log.txt") as child:
        child.ask("one", timeout_s=20)
        shutil.rmtree(folder)
        child.ask("two", timeout_s=20)
        child.log.move(tmp_path / "log.txt")
        child.ask("three", timeout_s=20)
        child.end()
    assert (tmp_path / "log.txt").stat().st_size > 100_000
