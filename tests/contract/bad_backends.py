"""A plug-in whose converters end in every bad way. Children find it on PYTHONPATH."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from edgekit.backends.calls import run_calls
from edgekit.backends.written import artifact_of
from edgekit.core.arrays import Arrays
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob, LoadJob, RunJob
from edgekit.core.measured import RunResult
from edgekit.core.signature import Signature, TensorSpec

ROW = TensorSpec(name="x", dtype="float32", shape=(None, 4))


def load(job: LoadJob) -> Artifact:
    """Any file is a model that doubles its input."""
    return artifact_of(
        Path(job.source.path),
        format=job.source.format,
        signature=Signature(
            inputs=(ROW,), outputs=(TensorSpec(name="y", dtype="float32", shape=(None, 4)),)
        ),
        writer="bad_backends",
        source=job.source,
    )


def run(job: RunJob) -> RunResult:
    def call(feed: Arrays) -> Arrays:
        return {"y": np.multiply(feed["x"], 2, dtype=np.float32)}

    return run_calls(job, call, runtime="bad_backends", versions={})


def good(job: ConvertJob) -> Artifact:
    """Write a file as converters do."""
    path = Path(job.folder) / f"model{job.to.suffix}"
    path.write_bytes(b"\0\0\0\0TFL3 half a model")
    return artifact_of(
        path, format=Format.TFLITE, signature=job.signature, writer="bad_backends", notes=()
    )


def segfaults(job: ConvertJob) -> Artifact:
    good(job)
    os.write(2, b"about to fall\n")
    ctypes.string_at(0)
    raise AssertionError


def hangs(job: ConvertJob) -> Artifact:
    good(job)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def floods(job: ConvertJob) -> Artifact:
    line = b"x" * 65535 + b"\n"
    for _ in range(1600):
        os.write(1, line)
    return good(job)


def is_killed(job: ConvertJob) -> Artifact:
    good(job)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def exits_as_if_well(job: ConvertJob) -> Artifact:
    good(job)
    os._exit(0)


def calls_exit(job: ConvertJob) -> Artifact:
    good(job)
    sys.exit("enough")


def answers_nonsense(job: ConvertJob) -> object:
    good(job)
    return {"path": 3}


def leaves_a_daemon_and_falls(job: ConvertJob) -> Artifact:
    """A grandchild in a session of its own, whose parent has ended: no group holds it."""
    good(job)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            (Path(job.folder) / "daemon.pid").write_text(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    while not (Path(job.folder) / "daemon.pid").exists():
        time.sleep(0.01)
    os.abort()


def leaves_a_child_and_succeeds(job: ConvertJob) -> Artifact:
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    (Path(job.folder) / "child.pid").write_text(str(pid))
    return good(job)
