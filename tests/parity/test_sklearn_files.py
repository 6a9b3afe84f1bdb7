"""Opening scikit-learn files: nothing runs unasked, and what cannot be read is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edgekit.catalog import load_catalog
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.jobs import LoadJob
from edgekit.errors import MalformedError, UnsupportedError, UntrustedError
from tests.parity.edge_cells import Bench

pytestmark = pytest.mark.framework

MARK = "payload-ran"


def opened(bench: Bench, path: Path, *, trusted: bool = False) -> Artifact:
    format = Format.SKOPS if path.suffix == ".skops" else Format.PICKLE
    return bench.load(path, format, trusted=trusted)


@pytest.mark.parametrize("packed", ["plain", "zlib", "gzip", "bz2", "xz", "lzma"])
def test_a_pickle_is_refused_with_the_name_of_what_it_would_run(
    bench: Bench, sklearn_zoo: Path, packed: str
) -> None:
    path = sklearn_zoo / f"evil_{packed}.pkl"
    with pytest.raises(UntrustedError, match=r"posix\.system") as refused:
        opened(bench, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"--trust sha256:{digest}" in refused.value.fix
    assert not (sklearn_zoo / MARK).exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("system", r"posix\.system"),
        ("partial", r"functools\.partial, posix\.system"),
        ("methodcaller", r"operator\.methodcaller"),
        ("load", r"numpy\.load"),
        ("constructor", r"posix\.system"),
        ("old_protocol", r"posix\.system"),
    ],
)
def test_a_skops_file_that_would_run_something_is_refused_by_name(
    bench: Bench, sklearn_zoo: Path, name: str, told: str
) -> None:
    with pytest.raises(UntrustedError, match=told) as refused:
        opened(bench, sklearn_zoo / f"evil_{name}.skops")
    assert "--trust sha256:" in refused.value.fix
    assert not (sklearn_zoo / MARK).exists()


def test_a_pickle_opens_with_the_word_of_the_user(bench: Bench, sklearn_zoo: Path) -> None:
    artifact = opened(bench, sklearn_zoo / "logistic.pkl", trusted=True)
    assert [spec.name for spec in artifact.signature.outputs] == ["label", "probabilities"]


@pytest.mark.parametrize("name", ["child", "loop", "feature"])
def test_a_tree_that_points_outside_of_itself_is_malformed(
    bench: Bench, sklearn_zoo: Path, name: str
) -> None:
    with pytest.raises(MalformedError, match="a tree"):
        opened(bench, sklearn_zoo / f"broken_{name}.skops")


def test_half_a_skops_file_is_malformed(bench: Bench, sklearn_zoo: Path) -> None:
    with pytest.raises(MalformedError, match="not a skops file"):
        opened(bench, sklearn_zoo / "half.skops")


def test_a_file_that_changed_since_it_was_hashed_is_not_opened(
    bench: Bench, sklearn_zoo: Path, tmp_path: Path
) -> None:
    path = sklearn_zoo / "kmeans.skops"
    source = ModelSource(path=str(path), format=Format.SKOPS, sha256="0" * 64)
    row = load_catalog().backend("sklearn")
    with pytest.raises(MalformedError, match="has changed"):
        bench.workers.call(
            LoadJob(source=source, folder=str(tmp_path)),
            Artifact,
            entry=row.entry,
            environment=row.environment,
        )


@pytest.mark.parametrize(
    ("name", "told"),
    [("text", "OneHotEncoder encodes text"), ("no_predict", "DBSCAN has neither predict")],
)
def test_models_that_map_no_numbers_to_numbers_are_refused_by_name(
    bench: Bench, sklearn_zoo: Path, name: str, told: str
) -> None:
    with pytest.raises(UnsupportedError, match=told):
        opened(bench, sklearn_zoo / f"{name}.skops")


def test_text_labels_become_indices_with_categories(bench: Bench, sklearn_zoo: Path) -> None:
    label = opened(bench, sklearn_zoo / "names.skops").signature.outputs[0]
    assert (label.dtype, label.categories) == ("int64", ("setosa", "versicolor", "virginica"))


def test_inspection_counts_estimators_and_tree_nodes(bench: Bench, sklearn_zoo: Path) -> None:
    artifact = opened(bench, sklearn_zoo / "gradient.skops")
    found = bench.inspect(artifact)
    assert found.ops["DecisionTreeRegressor"] == 24
    assert found.notes[0].startswith("24 trees with")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["randomForestClassifier", "logisticRegression"])
def test_a_stale_pickle_opens_with_a_note(bench: Bench, shared_models: Path, name: str) -> None:
    path = shared_models / "sklearn" / "stale" / f"{name}-iris-unclipped-eq-1.5.2.pickle"
    artifact = opened(bench, path, trusted=True)
    assert "written by scikit-learn 1.5.2" in artifact.notes[0]


@pytest.mark.shared
def test_a_pickle_too_old_to_read_is_refused_with_its_version(
    bench: Bench, shared_models: Path
) -> None:
    path = shared_models / "sklearn" / "stale" / "decisionTreeClassifier-iris-unclipped.pickle"
    with pytest.raises(UnsupportedError, match=r"written by scikit-learn 0\.22\.2"):
        opened(bench, path, trusted=True)
