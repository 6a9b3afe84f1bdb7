"""What the verdict must not fall for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.backend_table import BUILTIN
from edgekit.catalog import Catalog
from edgekit.core.artifact import Format
from edgekit.core.cell import CellReport, Outcome
from edgekit.core.noun import changed
from edgekit.core.request import ConvertRequest, Opening, Proof
from edgekit.pipeline.lines import convert
from edgekit.worker.client import Workers

pytestmark = pytest.mark.framework


def judged(sample_models: Path, output: Path, catalog: Catalog) -> CellReport:
    built = sample_models / "digits_resnet" / "built"
    request = ConvertRequest(
        opening=Opening(path=str(built / "digits_resnet.pt2")),
        to=Format.TORCHSCRIPT,
        proof=Proof(data=str(built / "eval.npz"), num_runs=0),
        output=str(output),
    )
    with Workers(timeout_s=300) as workers:
        return convert(request, workers=workers, catalog=catalog)


def test_a_converter_that_changes_the_source_in_memory_is_caught(
    sample_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    spoiled = Catalog(
        backends=tuple(
            changed(row, entry="spoiling_backend:convert")
            if row.name == "pt2_to_torchscript"
            else row
            for row in BUILTIN
        )
    )
    report = judged(sample_models, tmp_path / "m.pt", spoiled)
    assert report.outcome is Outcome.PARITY_FAILED
    assert list(tmp_path.iterdir()) == []


def test_the_same_converter_left_honest_passes(sample_models: Path, tmp_path: Path) -> None:
    report = judged(sample_models, tmp_path / "m.pt", Catalog(backends=BUILTIN))
    assert report.outcome is Outcome.PASSED, report.reason
