"""The child's side of the wall: read job.json, do the job, write result.json, answer.

`python -m edgekit.worker.child FOLDER` replays one job and prints what it raised. Without a folder
it serves folders named on standard input until that ends, which is how the parent uses it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

import msgspec

from edgekit.core.jobs import Order, Raised, Reply
from edgekit.core.noun import read_json, to_json
from edgekit.errors import EdgekitError
from edgekit.process import REPLY_FD_VARIABLE

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve one folder given as an argument, or many given on standard input."""
    if len(sys.argv) > 1:
        reply = serve(Path(sys.argv[1]))
        if reply.raised is not None:
            sys.exit(reply.raised.traceback or reply.raised.message)
        return
    replies = int(os.environ.pop(REPLY_FD_VARIABLE))
    _live_no_longer_than_the_parent()
    requests = os.fdopen(os.dup(0))
    _hide_standard_input()
    for line in requests:
        serve(Path(line.rstrip("\n")))
        os.write(replies, b"done\n")


def serve(folder: Path) -> Reply:
    """Do the job in `folder`; result.json appears there whole or not at all."""
    reply = _answer(folder)
    aside = folder / "result.json.part"
    aside.write_text(to_json(reply))
    aside.replace(folder / "result.json")
    return reply


def _answer(folder: Path) -> Reply:
    try:
        order = read_json(folder / "job.json", Order)
        module, _, function = order.entry.partition(":")
        value = getattr(importlib.import_module(module), function)(order.job)
        return Reply(value=msgspec.to_builtins(value))
    except EdgekitError as error:
        return Reply(raised=_raised(error, error.message, error.fix))
    except (Exception, SystemExit) as error:
        return Reply(raised=_raised(error, _first_lines(str(error)), ""))


def _raised(error: BaseException, message: str, fix: str) -> Raised:
    return Raised(
        kind=type(error).__name__,
        message=message,
        fix=fix,
        traceback="".join(traceback.format_exception(error)),
    )


def _first_lines(text: str, limit: int = 1200) -> str:
    return text if len(text) <= limit else text[:limit] + " ..."


def _live_no_longer_than_the_parent() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)


def _hide_standard_input() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


if __name__ == "__main__":
    main()
