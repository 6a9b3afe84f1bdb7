"""Convert every scikit-learn estimator to every format and write the table of outcomes.

    .venv/bin/python -m scripts.coverage_sklearn [--only NAME ...] [--output FILE]

Each cell goes the way a user's model goes: saved as `.skops` (or, where skops cannot, as a pickle
with trust), loaded, converted, run in another child, compared. A mismatch is a failed cell. With
`--only`, the other rows of the table stay as they are. Exits with 1 where a cell has failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

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
HEADER = "| estimator | kind | " + " | ".join(FORMATS) + " |"


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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a text per format, and the lines that give reasons."""

    name: str
    kind: str
    texts: tuple[str, ...]
    reasons: tuple[str, ...] = ()


def main() -> int:
    """Run all cells, print as it goes, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    start = time.perf_counter()
    rows = _read(given.output) if given.only and given.output.is_file() else {}
    with Workers(timeout_s=180) as workers, tempfile.TemporaryDirectory() as folder:
        for fitted in zoo(frozenset(given.only)):
            row = _row(fitted, _cells(fitted, Path(folder), workers))
            print(f"{row.name}: {' | '.join(row.texts)}", flush=True)
            rows[row.name] = row
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(_table([rows[name] for name in sorted(rows)]))
    print(f"{len(rows)} estimators in {time.perf_counter() - start:.0f} s: {given.output}")
    return int(any(text.startswith("**") for row in rows.values() for text in row.texts))


def _read(path: Path) -> dict[str, Row]:
    """The rows of a table that this script wrote."""
    lines = path.read_text().splitlines()
    rows: dict[str, Row] = {}
    for line in lines[lines.index(HEADER) + 2 :]:
        if line.startswith("| "):
            name, kind, *texts = (part.strip() for part in line.strip("|").split(" | "))
            said = tuple(other for other in lines if other.startswith(f"- **{name}** ("))
            rows[name] = Row(name=name, kind=kind, texts=tuple(texts), reasons=said)
    return rows


def _row(fitted: Fitted, cells: dict[Format, Cell]) -> Row:
    return Row(
        name=fitted.name,
        kind=fitted.kind,
        texts=tuple(cells[to].text for to in FORMATS),
        reasons=tuple(_reasons(fitted, cells)),
    )


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


def _table(rows: list[Row]) -> str:
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
        "| format | yes | yes, via torch | no | failed |",
        "|---|---|---|---|---|",
        *(_totals(to, [row.texts[at] for row in rows]) for at, to in enumerate(FORMATS)),
        "",
        HEADER,
        "|---|---|" + "---|" * len(FORMATS),
        *(f"| {row.name} | {row.kind} | {' | '.join(row.texts)} |" for row in rows),
        "",
        "## Reasons",
        "",
        *(line for row in rows for line in row.reasons),
    ]
    return "\n".join(lines) + "\n"


def _totals(to: Format, texts: list[str]) -> str:
    counts = Counter(texts)
    good = (counts["yes"], counts["yes, via torch"], counts["no"])
    return f"| {to} | " + " | ".join(str(n) for n in (*good, len(texts) - sum(good))) + " |"


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
