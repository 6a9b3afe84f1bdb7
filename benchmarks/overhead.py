"""What edgekit costs on top of the work itself: `python -m benchmarks.overhead`.

Runs `edgekit convert` of a Keras model and a bare script that does the same (bare.py) in turn,
A B A B, and prints one table of medians and their ratio; also the time of `edgekit --help`.
Exits with 1 where a promise is missed: a ratio of 1.15, and 0.2 s for the help.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
MAX_RATIO = 1.15
MAX_HELP_S = 0.2
_HELP_RUNS = 15
_POLL_S = 0.05
_ENVIRONMENT = {
    **os.environ,
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One run: wall and processor seconds, and the peak of the memory of all its processes."""

    wall_s: float
    cpu_s: float
    peak_bytes: float


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a Keras model [default: a random ResNet8]")
    parser.add_argument("--data", type=Path, help="its samples as `x` in an .npz")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--strict", action="store_true", help="the bare script does not unwind")
    given = parser.parse_args()
    if (given.model is None) != (given.data is None):
        parser.error("--model and --data go together")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, data = given.model, given.data
        if model is None:
            model, data = folder / "resnet8.keras", folder / "data.npz"
            _python("benchmarks.resnet8", str(model), str(data))
        ours, bare = compare(
            model.resolve(), data.resolve(), folder, rounds=given.rounds, strict=given.strict
        )
    return show(ours, bare, help_s=help_seconds())


def compare(
    model: Path, data: Path, folder: Path, *, rounds: int, strict: bool
) -> tuple[list[Cost], list[Cost]]:
    """The costs of both sides, taken in turn; one round of each before the first that counts."""
    artifact = str(folder / "model.tflite")
    arguments = [str(model), "--to", "tflite", "--eval-data", str(data), "-o", artifact, "-q"]
    ours = [sys.executable, "-m", "edgekit", "convert", *arguments]
    bare = [sys.executable, "-m", "benchmarks.bare", str(model), str(data), artifact]
    bare += ["at-once"] if strict else []
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    for number in range(rounds + 1):
        for side, command in enumerate((ours, bare)):
            cost = cost_of(command)
            if number:
                costs[side].append(cost)
    return costs


def cost_of(command: list[str]) -> Cost:
    """Run a command to its end; raises where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=REPO,
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # as edgekit's children: the scheduler shares out by session
    )
    watch = _Watch(process.pid)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    watch.end()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{output.decode()}")
    return Cost(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_bytes=watch.peak_bytes)


class _Watch(threading.Thread):
    """Adds up the resident memory of a process and all below it, 20 times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(_POLL_S):
            self.peak_bytes = max(self.peak_bytes, _resident_bytes(self._pid))

    def end(self) -> None:
        self._ended.set()
        self.join()


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident_bytes(int(child)) for child in below)


def help_seconds() -> float:
    """The median wall time of `edgekit --help`."""
    command = [str(Path(sys.executable).with_name("edgekit")), "--help"]
    return statistics.median(cost_of(command).wall_s for _ in range(_HELP_RUNS))


def show(ours: list[Cost], bare: list[Cost], *, help_s: float) -> int:
    """Print the table; 1 where a promise is missed."""
    print(f"\n{len(ours)} rounds, in turn; medians (least, most)\n")
    print("| | wall s | processor s | peak memory MB |\n|---|---|---|---|")
    for name, costs in (("edgekit convert", ours), ("bare script", bare)):
        walls = [cost.wall_s for cost in costs]
        cells = (
            f"{statistics.median(walls):.2f} ({min(walls):.2f}, {max(walls):.2f})",
            f"{statistics.median(cost.cpu_s for cost in costs):.2f}",
            f"{statistics.median(cost.peak_bytes for cost in costs) / 1e6:.0f}",
        )
        print(f"| {name} | {' | '.join(cells)} |")
    ratios = [
        statistics.median(getattr(cost, field) for cost in ours)
        / statistics.median(getattr(cost, field) for cost in bare)
        for field in ("wall_s", "cpu_s", "peak_bytes")
    ]
    print(f"| ratio | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    print(f"\nedgekit --help: {help_s:.3f} s")
    kept = ratios[0] <= MAX_RATIO and help_s <= MAX_HELP_S
    print(f"promise (ratio <= {MAX_RATIO}, help <= {MAX_HELP_S} s): {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


def _python(module: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=REPO, env=_ENVIRONMENT, check=True
    )


if __name__ == "__main__":
    sys.exit(main())
