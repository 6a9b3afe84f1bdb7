"""From a request to an exit code: children, progress, the report, the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekit.catalog import load_catalog
from edgekit.cli import render
from edgekit.core.cell import CellReport
from edgekit.core.noun import Noun
from edgekit.worker.client import Workers


def verdict_of(line: Callable[..., CellReport], request: Noun, given: dict[str, Any]) -> int:
    """Walk one line of the pipeline with what the options said, show its report, give its code."""
    with (
        render.progress(quiet=given["quiet"]) as progress,
        Workers(timeout_s=given["timeout_s"]) as workers,
    ):
        report = line(request, workers=workers, catalog=load_catalog(), progress=progress)
    render.show_report(
        report, json_path=given["json_path"], quiet=given["quiet"], verbose=given["verbose"]
    )
    return report.exit_code
