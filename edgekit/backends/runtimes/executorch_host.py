"""Run a `.pte` on this machine."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from edgekit.backends.calls import resident_bytes, run_calls
from edgekit.backends.executorch_runtime import Runner
from edgekit.backends.pte_files import placement, read_program
from edgekit.core.arrays import Arrays
from edgekit.core.jobs import RunJob
from edgekit.core.measured import RunResult
from edgekit.errors import MalformedError


def run(job: RunJob) -> RunResult:
    """Run all calls with `num_threads` threads; the clock sees the inputs copied in and the run.

    Raises UnavailableError where the file needs a delegate this machine lacks, UnsupportedError
    where it needs a kernel, ConfigError where the inputs do not fit.
    """
    path = Path(job.artifact.path)
    program = read_program(path)
    names = [spec.name for spec in job.artifact.signature.inputs]
    results = [spec.name for spec in job.artifact.signature.outputs]
    if (len(names), len(results)) != (len(program.inputs), len(program.outputs)):
        raise MalformedError(
            f"the program has {len(program.inputs)} inputs and {len(program.outputs)} outputs, "
            f"its signature {len(names)} and {len(results)}"
        )
    before = resident_bytes()
    runner = Runner(path, program, num_threads=job.num_threads)

    def call(feed: Arrays) -> Arrays:
        outputs = runner.run([feed[name] for name in names], names)
        return dict(zip(results, outputs, strict=True))

    def bind(feed: Arrays) -> Callable[[], None]:
        return runner.bind([feed[name] for name in names], names)

    return run_calls(
        job,
        call,
        runtime="executorch",
        versions={name: metadata.version(name) for name in ("executorch", "torch")},
        placement=placement(program),
        timed=bind,
        resident_before=before,
    )
