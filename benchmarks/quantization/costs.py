"""What a process costs: wall seconds, and the memory of it and all below it at their peak."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
OFFLINE = Path(__file__).resolve().parent / "offline"
_POLL_S = 0.05
_NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """`parts` are the resident bytes of every process at the peak of their sum, greatest first."""

    wall_s: float
    peak_bytes: int
    parts: list[int]
    status: int
    output: str


def cost_of(command: list[str], *, timeout_s: float = 900) -> Cost:
    """Run a command to its end without a network; it and its children are killed at `timeout_s`."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=REPO,
        env=_environment(Path(command[0]).parent, os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    watch = _Watch(process.pid)
    watch.start()
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
    wall_s = time.perf_counter() - start
    watch.ended.set()
    watch.join()
    return Cost(
        wall_s=wall_s,
        peak_bytes=sum(watch.parts),
        parts=sorted(watch.parts, reverse=True),
        status=process.returncode,
        output=output.decode(errors="replace"),
    )


def _environment(binaries: Path, given: Mapping[str, str]) -> dict[str, str]:
    """As in an activated environment, with no way out."""
    return {
        **given,
        "PATH": f"{binaries}:{given.get('PATH', '')}",
        "PYTHONPATH": str(OFFLINE),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _NOWHERE),
        "HF_HUB_OFFLINE": "1",
        "OLIVE_DISABLE_TELEMETRY": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


@dataclass
class _Watch(threading.Thread):
    """Looks 20 times a second."""

    pid: int
    parts: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.ended.wait(_POLL_S):
            parts = _resident_bytes(self.pid)
            if sum(parts) > sum(self.parts):
                self.parts = parts


def _resident_bytes(pid: int) -> list[int]:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        tasks = [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
        below = [
            child
            for task in tasks
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        ]
    except (OSError, IndexError):
        return []
    parts = [pages * os.sysconf("SC_PAGE_SIZE")]
    for child in below:
        parts += _resident_bytes(int(child))
    return parts
