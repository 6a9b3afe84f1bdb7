"""The parent's side of the wall: hand a job to a child, get a noun or a typed error back."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from edgekit import errors
from edgekit.core.jobs import Job, Order, Raised, Reply
from edgekit.core.noun import read_json, to_json
from edgekit.errors import CrashedError, EdgekitError, StepError, TimedOutError
from edgekit.process import Child, open_child, python_command

DEFAULT_TIMEOUT_S = 1800.0
LOG_NAME = "log.txt"

R = TypeVar("R")

_KEPT_VARIABLES = frozenset(
    [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TMPDIR",
        "TZ",
        "LD_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONHASHSEED",
        "OMP_NUM_THREADS",
        "XDG_CACHE_HOME",
        "SYSTEMROOT",
    ]
)
_OWN = {"EDGEKIT_OWN_CHILD": "1"}
_SET_VARIABLES = {
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


class Workers:
    """Warm children, one per backend environment. A context manager: none outlives it.

    A child serves jobs in turn, so a framework is imported once; when it dies only the job in
    flight is lost and the next job gets a new one. `own=True` keeps a job out of the children that
    convert; `fresh=True` asks for a child that has served nothing.
    """

    def __init__(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._children: dict[tuple[tuple[str, str], ...], tuple[Child, contextlib.ExitStack]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for key in list(self._children):
            self._close(key)

    def call(
        self,
        job: Job,
        result: type[R],
        *,
        entry: str,
        environment: Mapping[str, str],
        own: bool = False,
        fresh: bool = False,
    ) -> R:
        """Do `job` with `entry` in a child of `environment` and decode its value as `result`.

        The job's folder keeps job.json, result.json and log.txt: `python -m edgekit.worker.child
        FOLDER` replays it. Raises what the child raised (by its class in `errors`), CrashedError or
        TimedOutError; the error's `log` attribute holds the end of the log.
        """
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        (folder / "job.json").write_text(to_json(Order(entry=entry, job=job)))
        key = tuple(sorted({**environment, **(_OWN if own else {})}.items()))
        if fresh:
            self._close(key)
        child = self._child(key, folder / LOG_NAME)
        try:
            child.ask(str(folder), timeout_s=self._timeout_s)
        except (CrashedError, TimedOutError) as error:
            self._close(key)
            error.log = child.log.tail()
            raise
        return _value(folder, result, child)

    def _child(self, key: tuple[tuple[str, str], ...], log: Path) -> Child:
        if key in self._children:
            child, _ = self._children[key]
            if child.alive:
                child.log.move(log)
                return child
            self._close(key)
        stack = contextlib.ExitStack()
        command = python_command("-m", "edgekit.worker.child")
        child = stack.enter_context(
            open_child(command, environment=child_environment(dict(key)), log=log)
        )
        self._children[key] = (child, stack)
        return child

    def _close(self, key: tuple[tuple[str, str], ...]) -> None:
        if key in self._children:
            self._children.pop(key)[1].close()


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The variables a child sees: an allow-list of the user's, edgekit's own, then the backend's."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES}
    return {**kept, **_SET_VARIABLES, **extra}


def _value(folder: Path, result: type[R], child: Child) -> R:
    if not (folder / "result.json").exists():
        raise CrashedError("the process said it was done and left no result")
    reply = read_json(folder / "result.json", Reply)
    if reply.raised is not None:
        error = _error(reply.raised)
        error.log = child.log.tail()
        raise error
    try:
        return msgspec.convert(reply.value, result)
    except msgspec.ValidationError as error:
        raise StepError(f"the backend gave no {result.__name__}: {error}") from error


def _error(raised: Raised) -> EdgekitError:
    """The child's exception as an edgekit error; foreign classes become StepError with their name."""
    kind: Any = getattr(errors, raised.kind, None)
    if isinstance(kind, type) and issubclass(kind, EdgekitError):
        return kind(raised.message, fix=raised.fix)
    return StepError(f"{raised.kind}: {raised.message}", fix=raised.fix)


def seconds_since(start: float) -> float:
    """Wall seconds since `start` of `time.perf_counter`, to the millisecond."""
    return round(time.perf_counter() - start, 3)
