"""Fixtures: warm children for the whole session, and the pipeline on top of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from edgekit.catalog import load_catalog
from edgekit.core.artifact import Format
from edgekit.core.cell import CellReport
from edgekit.core.request import ConvertRequest, Opening, Proof
from edgekit.pipeline.lines import convert
from edgekit.worker.client import Workers

REPO = Path(__file__).resolve().parent.parent
ALLOWED_SKIPS = Path(__file__).with_name("allowed-skips.txt")

ConvertModel = Callable[..., tuple[CellReport, Path]]


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of real trained models; skips where this machine has none."""
    folder = Path(os.environ.get("EDGEKIT_SHARED_MODELS", REPO.parent / "shared" / "models"))
    if not folder.is_dir():
        pytest.skip(f"no real trained models at {folder}")
    return folder


@pytest.fixture(scope="session")
def sample_models() -> Path:
    """The folder of sample models, built; skips where they are not."""
    folder = REPO / "sample_models"
    if len(list(folder.glob("*/built/eval.npz"))) < 3:
        pytest.skip("the sample models are not built: run scripts/build-samples")
    return folder


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Children that stay warm: each framework is imported once per session."""
    with Workers(timeout_s=600) as warm:
        yield warm


@pytest.fixture
def convert_model(workers: Workers, tmp_path: Path) -> ConvertModel:
    """`convert_model(path, to=..., data=None, ...)` -> the report, and the place of the artifact."""

    def run(
        path: Path,
        *,
        to: str,
        data: Path | None = None,
        opening: dict[str, object] | None = None,
        proof: dict[str, object] | None = None,
        **request: object,
    ) -> tuple[CellReport, Path]:
        output = tmp_path / f"{path.stem}{Format(to).suffix}"
        made = ConvertRequest(
            opening=Opening(path=str(path), **(opening or {})),  # type: ignore[arg-type]
            to=Format(to),
            proof=Proof(data=str(data) if data else None, **{"num_runs": 0, **(proof or {})}),  # type: ignore[arg-type]
            output=str(output),
            **request,  # type: ignore[arg-type]
        )
        return convert(made, workers=workers, catalog=load_catalog()), output

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skip that no line of allowed-skips.txt names is a failure."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        lines = ALLOWED_SKIPS.read_text().splitlines()
        allowed = [line.split("#")[0].strip() for line in lines]
        if not any(name and item.nodeid.startswith(name) for name in allowed):
            report.outcome = "failed"
            report.longrepr = (
                f"skipped in CI, and allowed-skips.txt does not name it: {call.excinfo}"
            )
    return report
