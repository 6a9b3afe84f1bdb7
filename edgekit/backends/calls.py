"""What all host runtimes share: cut samples into calls, gather outputs, time one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edgekit.core.arrays import Array, Arrays, read_npz, write_npz
from edgekit.core.jobs import RunJob
from edgekit.core.measured import Placement, RunResult
from edgekit.core.signature import TensorSpec
from edgekit.errors import MalformedError
from edgekit.measure import measure

Call = Callable[[Arrays], Mapping[str, Array]]


def run_calls(
    job: RunJob,
    call: Call,
    *,
    runtime: str,
    versions: Mapping[str, str],
    placement: Placement | None = None,
    timed: Callable[[Arrays], Callable[[], object]] | None = None,
    resident_before: int | None = None,
) -> RunResult:
    """Run all calls of `job`, write the outputs, time the first call again and again.

    `call` takes and gives arrays keyed by the artifact's own names. `timed`, where given, binds the
    inputs once and returns the bare invocation, so that only the runtime is on the clock.
    `resident_before` is `resident_bytes()` before the model was opened.
    """
    feeds = list(_feeds(job))
    gathered = _gather(job, [_checked(job, call(feed)) for feed in feeds])
    resident = resident_bytes()
    outputs = Path(job.folder) / "outputs.npz"
    write_npz(outputs, gathered)
    timing = None
    if job.num_runs > 0:
        timing = measure(
            timed(feeds[0]) if timed else lambda: call(feeds[0]),
            num_runs=job.num_runs,
            min_time_s=job.min_time_s,
            warmup_runs=job.warmup_runs,
            threads=job.num_threads,
            rows=1 if job.stacked else job.calls[0],
        )
    return RunResult(
        outputs=str(outputs),
        runtime=runtime,
        timing=timing,
        peak_rss_bytes=peak_rss_bytes(),
        placement=placement,
        model_rss_bytes=max(resident - resident_before, 0)
        if resident and resident_before
        else None,
        versions={name: str(version) for name, version in versions.items()},
    )


def placed(delegate: str, *, nodes: int, delegated: int, left: dict[str, int]) -> Placement:
    """A placement with its share worked out."""
    return Placement(
        delegate=delegate,
        nodes=nodes,
        delegated_nodes=delegated,
        share=delegated / nodes if nodes else 0.0,
        left=left,
    )


def peak_rss_bytes() -> int | None:
    """The high-water mark of this process since it was started; None where the system has none.

    Linux only: `ru_maxrss` is inherited from the parent through fork and exec, VmHWM is not.
    """
    return _status_bytes("VmHWM")


def resident_bytes() -> int | None:
    """What this process holds in memory now; None where the system does not tell."""
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def _feeds(job: RunJob) -> list[Arrays]:
    """The inputs of each call, by the artifact's names, in its dtypes, C-contiguous."""
    samples = read_npz(job.samples)
    whole = {
        spec.name: fitted(samples[spec.origin], spec) for spec in job.artifact.signature.inputs
    }
    feeds: list[Arrays] = []
    at = 0
    for rows in job.calls:
        cut = {name: array[at : at + rows] for name, array in whole.items()}
        if job.stacked:
            feeds += [{n: np.ascontiguousarray(a[i]) for n, a in cut.items()} for i in range(rows)]
        else:
            feeds.append({n: np.ascontiguousarray(a) for n, a in cut.items()})
        at += rows
    return feeds


def fitted(array: Array, spec: TensorSpec) -> Array:
    """`array` in the dtype of `spec`, quantized where the model takes quantized numbers.

    Raises MalformedError where an integer would not fit.
    """
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    if spec.quantization and array.dtype.kind == "f":
        stored = (
            np.round(array.astype(np.float64) / _scales(spec)) + spec.quantization.zero_point[0]
        )
        return np.clip(stored, np.iinfo(wanted).min, np.iinfo(wanted).max).astype(wanted)
    result = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(result, array):
        raise MalformedError(
            f"input {spec.name!r}: values of {array.dtype} do not fit the {wanted} of the model"
        )
    return result


def _checked(job: RunJob, outputs: Mapping[str, Array]) -> Arrays:
    wanted = [spec.name for spec in job.artifact.signature.outputs]
    if set(outputs) != set(wanted):
        raise MalformedError(f"the model gave outputs {sorted(outputs)}, expected {sorted(wanted)}")
    return {name: np.array(outputs[name]) for name in wanted}


def _gather(job: RunJob, results: list[Arrays]) -> Arrays:
    """Outputs keyed by the source's names: concatenated along the rows, or stacked call by call."""
    rows = [1] * sum(job.calls) if job.stacked else list(job.calls)
    gathered: Arrays = {}
    for spec in job.artifact.signature.outputs:
        arrays = [result[spec.name] for result in results]
        per_row = not job.stacked and all(
            a.ndim and a.shape[0] == n for a, n in zip(arrays, rows, strict=True)
        )
        try:
            array = np.concatenate(arrays) if per_row else np.stack(arrays)
        except ValueError as error:
            raise MalformedError(
                f"output {spec.name!r} changes its shape from call to call: "
                f"{sorted({a.shape for a in arrays})}"
            ) from error
        gathered[spec.origin] = _real(array, spec)
    return gathered


def _real(array: Array, spec: TensorSpec) -> Array:
    """Quantized outputs as the float32 they stand for."""
    if spec.quantization is None or array.dtype.kind not in "iu":
        return array
    shifted = array.astype(np.float64) - spec.quantization.zero_point[0]
    return (shifted * _scales(spec)).astype(np.float32)


def _scales(spec: TensorSpec) -> float:
    return spec.quantization.scale[0] if spec.quantization else 1.0
