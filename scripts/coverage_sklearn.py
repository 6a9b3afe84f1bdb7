"""Convert every scikit-learn estimator to every format and write the table of outcomes.

    .venv/bin/python scripts/coverage_sklearn.py [--only NAME ...] [--output FILE]

Each cell goes the way a user's model goes: saved as `.skops` (or, where skops cannot, as a pickle
with trust), loaded, converted, run in another child, compared. A mismatch is a failed cell. Exits
with 1 where there is one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from edgekit.catalog import load_catalog
from edgekit.core.artifact import Format
from edgekit.core.cell import Outcome
from edgekit.core.request import ConvertRequest, Opening, Proof
from edgekit.errors import EdgekitError
from edgekit.pipeline.lines import convert
from edgekit.worker.client import Workers
from scripts.sklearn_zoo import Fitted, zoo

FORMATS = (Format.ONNX, Format.TFLITE, Format.EXECUTORCH, Format.TORCHSCRIPT)
OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "coverage" / "sklearn.md"
BY_TORCH = "sklearn_to_pt2"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One estimator in one format."""

    outcome: Outcome
    via: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        if self.outcome is Outcome.PASSED:
            return "yes, via torch" if self.via else "yes"
        return "no" if self.outcome is Outcome.UNSUPPORTED else f"**{self.outcome}**"


def main() -> int:
    """Run all cells, print as it goes, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    start = time.perf_counter()
    rows: list[tuple[Fitted, dict[Format, Cell]]] = []
    with Workers(timeout_s=180) as workers, tempfile.TemporaryDirectory() as folder:
        for fitted in zoo(frozenset(given.only)):
            cells = _cells(fitted, Path(folder), workers)
            print(f"{fitted.name}: {' | '.join(cells[f].text for f in FORMATS)}", flush=True)
            rows.append((fitted, cells))
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(_table(rows))
    print(f"{len(rows)} estimators in {time.perf_counter() - start:.0f} s: {given.output}")
    fine = (Outcome.PASSED, Outcome.UNSUPPORTED)
    return int(any(cell.outcome not in fine for _, cells in rows for cell in cells.values()))


def _cells(fitted: Fitted, folder: Path, workers: Workers) -> dict[Format, Cell]:
    if fitted.problem:
        return dict.fromkeys(FORMATS, Cell(outcome=Outcome.UNSUPPORTED, reason=fitted.problem))
    model, trust = _saved(fitted, folder)
    data = folder / f"{fitted.name}.npz"
    np.savez(data, x=np.asarray(fitted.rows))
    return {to: _cell(model, data, to, trust=trust, workers=workers) for to in FORMATS}


def _saved(fitted: Fitted, folder: Path) -> tuple[Path, str]:
    """The file and the trust it needs: none for `.skops`."""
    import joblib
    import skops.io

    path = folder / f"{fitted.name}.skops"
    try:
        skops.io.dump(fitted.estimator, path)
    except TypeError:  # skops: "Objects of type Birch are not supported yet"
        path = path.with_suffix(".joblib")
        joblib.dump(fitted.estimator, path)
        return path, "this-file"
    if fitted.name in ("SplineTransformer",):  # holds a scipy object that edgekit does not open
        return path, "this-file"
    return path, ""


def _cell(model: Path, data: Path, to: Format, *, trust: str, workers: Workers) -> Cell:
    first = _converted(model, data, to, trust=trust, workers=workers)
    if to is not Format.ONNX or first.outcome is not Outcome.UNSUPPORTED:
        return first
    if f"--via {BY_TORCH}" not in first.reason:
        return first
    second = _converted(model, data, to, trust=trust, workers=workers, via=BY_TORCH)
    return first if second.outcome is Outcome.UNSUPPORTED else second


def _converted(
    model: Path, data: Path, to: Format, *, trust: str, workers: Workers, via: str | None = None
) -> Cell:
    request = ConvertRequest(
        opening=Opening(path=str(model), trust=trust),
        to=to,
        via=via,
        proof=Proof(data=str(data), num_runs=0),
    )
    try:
        report = convert(request, workers=workers, catalog=load_catalog())
    except EdgekitError as error:
        return Cell(outcome=Outcome.UNSUPPORTED, reason=f"{error.message} ({error.fix})")
    reason = ""
    if report.reason:
        reason = f"{report.reason.message} ({report.reason.fix})"
    return Cell(outcome=report.outcome, via=via or "", reason=" ".join(reason.split()))


def _table(rows: list[tuple[Fitted, dict[Format, Cell]]]) -> str:
    import sklearn

    lines = [
        "# scikit-learn: which estimator converts to which format",
        "",
        f"Written by `scripts/coverage_sklearn.py` with scikit-learn {sklearn.__version__}; do not edit.",
        "",
        "Every estimator of `sklearn.utils.all_estimators()`, with default parameters where these work",
        "on a small table, is saved, loaded, converted, run and compared on rows it was not fitted on.",
        "*yes*: labels equal and numbers within the tolerance. *yes, via torch*: skl2onnx cannot, and",
        "`--via sklearn_to_pt2` can. *no*: refused by name (exit 3); the reasons are below. Anything in",
        "bold is a failure.",
        "",
        *_totals(rows),
        "",
        "| estimator | kind | " + " | ".join(FORMATS) + " |",
        "|---|---|" + "---|" * len(FORMATS),
        *(
            f"| {fitted.name} | {fitted.kind} | "
            + " | ".join(cells[to].text for to in FORMATS)
            + " |"
            for fitted, cells in rows
        ),
        "",
        "## Reasons",
        "",
        *(line for fitted, cells in rows for line in _reasons(fitted, cells)),
    ]
    return "\n".join(lines) + "\n"


def _totals(rows: list[tuple[Fitted, dict[Format, Cell]]]) -> list[str]:
    lines = ["| format | yes | yes, via torch | no | failed |", "|---|---|---|---|---|"]
    for to in FORMATS:
        texts = Counter(cells[to].text for _, cells in rows)
        good = (texts["yes"], texts["yes, via torch"], texts["no"])
        counts = (*good, len(rows) - sum(good))
        lines.append(f"| {to} | " + " | ".join(str(count) for count in counts) + " |")
    return lines


def _reasons(fitted: Fitted, cells: dict[Format, Cell]) -> list[str]:
    said: dict[str, list[str]] = {}
    for to in FORMATS:
        if cells[to].reason:
            said.setdefault(cells[to].reason, []).append(to.value)
    return [
        f"- **{fitted.name}** ({', '.join(formats) if len(formats) < len(FORMATS) else 'all'}): "
        f"{reason[:400]}"
        for reason, formats in said.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
