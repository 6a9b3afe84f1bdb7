"""One child process with limits and a log: started in its own session, ended with all it started.

The child takes job folders on its standard input, one path a line, and answers `done` on a pipe of
its own after each. Whatever frameworks print goes to the log, which is capped and never parsed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from edgekit.errors import CrashedError, TimedOutError

LOG_LIMIT_BYTES = 4 << 20
REPLY_FD_VARIABLE = "EDGEKIT_REPLY_FD"
_FAMILY_VARIABLE = "EDGEKIT_CHILD"
_POLL_S = 1.0
_SWEEPS = 50
_CUT = b"\n[log cut: limit reached]\n"


class Child:
    """A running child. Use `open_child`; nothing that it started outlives the `with`."""

    def __init__(
        self, process: subprocess.Popen[bytes], replies: int, log: _Log, family: str
    ) -> None:
        self._process = process
        self._replies = replies
        self._family = family
        self.log = log

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def ask(self, line: str, *, timeout_s: float) -> None:
        """Send one line and wait for the answer.

        Raises CrashedError when the child ends first, TimedOutError when the answer is late; in
        both cases the child and all it started have been ended.
        """
        requests = self._process.stdin
        assert requests is not None
        try:
            requests.write(line.encode() + b"\n")
            requests.flush()
        except BrokenPipeError:
            raise CrashedError(self._end_and_describe()) from None
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                self.end()
                raise TimedOutError(f"no result after {timeout_s:g} s; the process was ended")
            ready = select.select([self._replies], [], [], min(left, _POLL_S))[0]
            if ready and os.read(self._replies, 64):
                return
            if ready or not self.alive:
                raise CrashedError(self._end_and_describe())

    def end(self) -> None:
        """End the child, its process group, and what left the group for a session of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for _ in range(_SWEEPS):
            if not _end_family(self._family):
                break

    def _end_and_describe(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self.end()
        code = self._process.returncode
        if code < 0:
            known = {number.value: number.name for number in signal.Signals}
            return f"the process was ended by {known.get(-code, f'signal {-code}')}"
        return f"the process exited with code {code} before it gave a result"


def _end_family(family: str) -> bool:
    """Kill every process that has inherited `family` in its environment; whether there was one.

    A daemon has left the group and the session and has lost its parent; its environment tells where
    it comes from. Linux only: elsewhere only the process group is ended.
    """
    mark = f"{_FAMILY_VARIABLE}={family}\0".encode()
    found = False
    for entry in Path("/proc").glob("[0-9]*/environ"):
        # Gone in between, or of another user.
        with contextlib.suppress(OSError):
            if mark in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)
                found = True
    return found


class _Log:
    """Pumps a stream into a file up to a limit, then throws the rest away and says so."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path
        self._lock = threading.Lock()
        self._written = 0
        self._pump_thread = threading.Thread(target=self._pump, daemon=True)
        self._pump_thread.start()

    def move(self, path: Path) -> None:
        """Send what comes next to another file."""
        with self._lock:
            self._path, self._written = path, 0

    def close(self) -> None:
        """Wait until all that the ended child printed is written."""
        self._pump_thread.join(timeout=5)

    def tail(self, lines: int = 12) -> str:
        """The last lines of the current log."""
        with self._lock:
            if not self._path.exists():
                return ""
            text = self._path.read_bytes()[-8192:].decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def _pump(self) -> None:
        while chunk := os.read(self._stream.fileno(), 65536):
            with self._lock:
                room = LOG_LIMIT_BYTES - self._written
                self._written += len(chunk)
                if room < 0:
                    continue
                # The folder may be gone (its cell has ended) or full: the child must not be kept
                # waiting for a reader, so what cannot be written is thrown away too.
                with contextlib.suppress(OSError), self._path.open("ab") as file:
                    file.write(chunk[:room])
                    if len(chunk) > room:
                        file.write(_CUT)


@contextlib.contextmanager
def open_child(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path
) -> Iterator[Child]:
    """Start `command` in a new session; on leaving, by any way, it and all it started is ended."""
    read_fd, write_fd = os.pipe()
    family = uuid.uuid4().hex
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, REPLY_FD_VARIABLE: str(write_fd), _FAMILY_VARIABLE: family},
            pass_fds=(write_fd,),
            start_new_session=True,
            bufsize=0,
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    assert process.stdout is not None
    assert process.stdin is not None
    pump = _Log(process.stdout, log)
    child = Child(process, read_fd, pump, family)
    try:
        yield child
    finally:
        child.end()
        pump.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        os.close(read_fd)


def python_command(*arguments: str) -> tuple[str, ...]:
    """This interpreter with a safe path: the working folder is never imported from."""
    return (sys.executable, "-P", "-X", "faulthandler", *arguments)
