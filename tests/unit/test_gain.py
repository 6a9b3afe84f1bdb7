"""What a recipe brought, and why nothing."""

from __future__ import annotations

from edgekit.core.artifact import Artifact, Format
from edgekit.core.cell import CellReport, Latency, Outcome, ReportedFile, Stage
from edgekit.core.gain import Gain
from edgekit.core.measured import Clock, RunResult, Timing
from edgekit.core.recipe import LayerPrecision, Precision
from edgekit.core.signature import Signature
from edgekit.parity.gain import gain_of

NOTHING = Signature(inputs=(), outputs=())


def gain(*, size: int, ms: float, precision: Precision, features: tuple[str, ...] = ()) -> Gain:
    """Of an artifact against a float32 one of 1,000 bytes that takes 1 ms."""
    latency = Latency(
        clock=Clock.HOST,
        first_ms=ms,
        min_ms=ms,
        p50_ms=ms,
        p90_ms=ms,
        p99_ms=ms,
        runs=50,
        warmup_runs=1,
        threads=1,
    )
    report = CellReport(
        schema="",
        id="",
        outcome=Outcome.PASSED,
        stage=Stage.COMPARE,
        recipe="",
        artifact=ReportedFile(path="a", format=Format.TFLITE, size_bytes=size, sha256="a"),
        latency=latency,
    )
    timing = Timing(
        clock=Clock.HOST, first_ns=10**6, runs_ns=(10**6,) * 3, warmup_runs=1, threads=1
    )
    found = gain_of(
        report,
        Artifact(path="b", format=Format.TFLITE, signature=NOTHING, sha256="b", size_bytes=1000),
        baseline_compressed=None,
        run=RunResult(outputs="", runtime="", timing=timing),
        layers=(
            LayerPrecision(name="a", op="CONV_2D", precision=precision, parameters=900),
            LayerPrecision(name="b", op="CONV_2D", precision=Precision.FP32, parameters=100),
        ),
        features=features,
    )
    assert found is not None
    return found


def test_ratios_are_against_the_float_artifact() -> None:
    found = gain(size=250, ms=0.5, precision=Precision.INT8)
    assert (found.size_ratio, found.latency_ratio, found.bits8_share) == (0.25, 0.5, 0.9)
    assert found.summary == "25% of the size and 50% of the time of float32 tflite"


def test_no_gain_in_size_is_said_with_its_cause() -> None:
    assert "no gain in size, because" in gain(size=1100, ms=0.5, precision=Precision.INT8).summary


def test_no_gain_in_latency_names_what_the_processor_lacks() -> None:
    slow = gain(size=250, ms=2.0, precision=Precision.INT8, features=("avx2",))
    assert "no gain in latency here" in slow.summary
    assert "VNNI" in slow.summary
    fast = gain(size=250, ms=2.0, precision=Precision.INT8, features=("vnni",))
    assert "VNNI" not in fast.summary


def test_weights_alone_cannot_be_faster() -> None:
    assert "turned back into float32" in gain(size=250, ms=1.0, precision=Precision.W8).summary
