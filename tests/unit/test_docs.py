"""The reference is what the code says, and reports are what the schema says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edgekit.cli import run
from edgekit.core.cell import SCHEMA, CellReport, Outcome, Stage
from edgekit.core.measured import Evidence
from edgekit.core.noun import from_json, to_json
from edgekit.parity.compare import compare
from edgekit.parity.tolerance import Tolerances
from scripts.reference import DOCS, pages, stale

REPO = DOCS.parent
PAGES = [REPO / "README.md", REPO / "benchmarks" / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads((DOCS / "report.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_reference_is_what_the_code_says() -> None:
    assert stale(DOCS) == []


def test_a_page_that_differs_or_is_absent_is_stale(tmp_path: Path) -> None:
    for name, text in pages().items():
        (tmp_path / name).write_text(text)
    assert stale(tmp_path) == []
    (tmp_path / "reference.md").write_text("old")
    (tmp_path / "report.schema.json").unlink()
    assert len(stale(tmp_path)) == 2


def test_a_report_of_the_command_line_fits_the_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], validator: Draft202012Validator
) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"\x1c\0\0\0TFL3" + bytes(24))
    run(["convert", str(model), "--to", "onnx", "-o", str(tmp_path / "m.onnx"), "--json", "-"])
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == SCHEMA
    validator.validate(report)


@pytest.mark.parametrize("actual", [[1.0, 2.5], [1.0, np.nan], [[1.0, 2.0]], ["a", "b"]])
def test_a_comparison_fits_the_schema_and_comes_back_equal(
    actual: list[Any], validator: Draft202012Validator
) -> None:
    parity = compare(
        {"y": np.array([1.0, 2.0], "f4")},
        {"y": np.array(actual)},
        tolerances=Tolerances(),
        evidence=Evidence.REAL,
        samples=2,
    )
    report = CellReport(
        schema=SCHEMA,
        id="m",
        outcome=Outcome.PARITY_FAILED,
        stage=Stage.COMPARE,
        recipe="fp32",
        parity=parity,
    )
    assert not parity.ok
    validator.validate(json.loads(to_json(report)))
    assert from_json(to_json(report), CellReport, origin="report") == report


@pytest.mark.parametrize(
    "wrong",
    [{"schema": "edgekit.report/2"}, {"outcome": "fine"}, {"parity": None, "extra": 1}, {"id": 1}],
)
def test_what_is_no_report_does_not_fit_the_schema(
    wrong: dict[str, Any], validator: Draft202012Validator
) -> None:
    good = {"schema": SCHEMA, "id": "m", "outcome": "passed", "stage": "run", "recipe": "fp32"}
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, **wrong})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(_broken_links(page)) == []


def _broken_links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [t.partition("#")[0] for t in targets if "://" not in t]
    return [t for t in local if t and not (page.parent / t).exists()]
