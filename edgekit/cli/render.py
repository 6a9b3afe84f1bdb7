"""The only printer: reports as a short table and a verdict line, talk on stderr, data on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.judgement_rows import accuracy_rows, parity_rows
from edgekit.cli.recipe_rows import recipe_rows
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.inspection import Inspection
from edgekit.core.noun import to_json
from edgekit.core.signature import Signature, show_shape
from edgekit.pipeline.draft import Progress
from edgekit.pipeline.publish import write_text

if TYPE_CHECKING:
    from rich.table import Table

STDOUT = "-"


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """A spinner on a terminal, plain lines elsewhere, nothing with `quiet`; always on stderr."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("starting") as status:
            yield status.update
    else:
        yield lambda text: click.echo(f"edgekit: {text}", err=True)


def show_report(report: CellReport, *, json_path: str | None, quiet: bool, verbose: bool) -> None:
    """The report as JSON where asked for, as a table unless quiet, and the verdict."""
    to_stderr = show_json(report, json_path)
    if not quiet:
        show_table(_facts(report, verbose=verbose), to_stderr=to_stderr)
        for note in report.notes:
            click.echo(f"note: {note}", err=True)
    click.echo(_verdict(report), err=to_stderr or report.outcome is not Outcome.PASSED)


def show_inspection(inspection: Inspection, *, json_path: str | None) -> None:
    """What is inside a model."""
    if show_json(inspection, json_path):
        return
    show_table(list(_inspected(inspection)))
    for note in inspection.notes:
        click.echo(f"note: {note}", err=True)


def show_json(noun: object, json_path: str | None) -> bool:
    """Write a noun as JSON where that was asked for; whether it took standard output."""
    if json_path == STDOUT:
        click.echo(to_json(noun))
    elif json_path:
        write_text(Path(json_path), to_json(noun) + "\n")
    return json_path == STDOUT


def show_table(rows: list[tuple[str, ...]], *, to_stderr: bool = False) -> None:
    """Rows of equal length; the first cell of each is its label."""
    from rich.console import Console

    console = Console(stderr=to_stderr, soft_wrap=False, highlight=False)
    console.print(_table(rows))


def _table(rows: list[tuple[str, ...]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number in range(max(map(len, rows), default=1)):
        table.add_column(style="bold" if number == 0 else "", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _verdict(report: CellReport) -> str:
    if report.outcome is Outcome.PASSED:
        return f"PASSED  {report.id}"
    lines = [f"{report.outcome.value.upper()} at {report.stage}  {report.id}"]
    if report.reason:
        lines.append(f"  cause: {report.reason.message}")
        lines += [f"  fix: {report.reason.fix}"] if report.reason.fix else []
        lines += [f"  log: {line}" for line in report.reason.log.splitlines()]
    return "\n".join(lines)


def _facts(report: CellReport, *, verbose: bool) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    if report.source:
        rows.append(
            ("source", f"{report.source.path}  {report.source.format}, {report.source.writer}")
        )
    if report.artifact:
        size = f"{report.artifact.size_bytes:,} bytes"
        packed = report.artifact.size_compressed_bytes
        size += f" (gzip {packed:,})" if packed else ""
        rows.append(("artifact", f"{report.artifact.path}  {report.artifact.format}, {size}"))
    rows += parity_rows(report.parity) if report.parity else ()
    rows += accuracy_rows(report.accuracy) if report.accuracy else ()
    rows += _cost_rows(report)
    rows += recipe_rows(report, verbose=verbose)
    if verbose:
        rows += [("step", f"{s.name}  {s.backend}, {s.seconds:.1f} s") for s in report.steps]
    return rows


def _cost_rows(report: CellReport) -> Iterator[tuple[str, ...]]:
    if report.latency:
        latency = report.latency
        text = f"p50 {latency.p50_ms:.3f} ms, p90 {latency.p90_ms:.3f} ms"
        if latency.source_p50_ms is not None:
            text += f" (source p50 {latency.source_p50_ms:.3f} ms)"
        yield (
            "latency",
            f"{text}, {latency.clock} clock, {latency.threads} thread(s), {latency.runs} runs",
        )
    if report.memory and report.memory.peak_rss_bytes:
        yield ("memory", f"peak RSS {report.memory.peak_rss_bytes / 1e6:.0f} MB, runtime included")
    if report.placement:
        placement = report.placement
        left = ", ".join(f"{name} x{count}" for name, count in placement.left.items())
        text = f"{placement.delegate}: {placement.delegated_nodes} of {placement.nodes} nodes"
        yield ("placement", f"{text} ({placement.share:.0%})" + (f"; left: {left}" if left else ""))
    for line in report.budget:
        actual = "not measured" if line.actual is None else f"{line.actual:g}"
        yield (
            "budget",
            f"{line.name} {actual}, limit {line.limit:g}: {'ok' if line.ok else 'MISSED'}",
        )


def _inspected(inspection: Inspection) -> Iterator[tuple[str, ...]]:
    yield ("format", f"{inspection.format}, written by {inspection.writer or 'unknown'}")
    yield from signature_rows(inspection.signature)
    packed = inspection.size_compressed_bytes
    yield ("size", f"{inspection.size_bytes:,} bytes" + (f" (gzip {packed:,})" if packed else ""))
    if inspection.parameters is not None:
        yield ("parameters", f"{inspection.parameters:,}")
    if inspection.macs is not None:
        yield ("MACs", f"{inspection.macs:,} for one row")
    yield ("ops", ", ".join(f"{name} x{count}" for name, count in inspection.ops.items()))
    if inspection.tensors:
        types = ", ".join(f"{name} x{count}" for name, count in inspection.tensors.dtypes.items())
        yield ("tensors", f"{types}; {inspection.tensors.per_channel} quantized per channel")
    for layer in inspection.layers:
        weights = f"{layer.parameters:,} weights" if layer.parameters else "no weights"
        yield ("layer", f"{layer.name}  {layer.op}, {layer.precision}, {weights}")


def signature_rows(signature: Signature) -> Iterator[tuple[str, ...]]:
    """One row per input and output."""
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            text = f"{spec.name}  {spec.dtype} {show_shape(spec.shape)}"
            if spec.quantization:
                q = spec.quantization
                text += f"  scale {q.scale[0]:.6g}, zero point {q.zero_point[0]}"
            yield (kind, text)
