"""Data fitted to a signature: names, dtypes, shapes, and how it is cut into calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.config.feeds import bind, rows_of, specs_of, synthetic, write_examples, write_feed
from edgekit.config.samples import Data, read_data
from edgekit.core.arrays import Array, read_npz, write_npz
from edgekit.core.signature import Shape, Signature, TensorSpec
from edgekit.errors import ConfigError, UnsupportedError


def one(*shape: int | None, dtype: str = "float32", name: str = "image") -> Signature:
    return Signature(inputs=(TensorSpec(name=name, dtype=dtype, shape=shape),), outputs=())


def data(**arrays: Array) -> Data:
    return Data(arrays, Path("data.npz"))


def test_x_stands_for_the_only_input() -> None:
    arrays, notes = bind(data(x=np.ones((3, 2), np.float32)), one(None, 2))
    assert list(arrays) == ["image"]
    assert notes == ()


def test_whole_numbers_are_taken_as_floats_and_said_so() -> None:
    arrays, notes = bind(data(x=np.full((3, 2), 255, np.uint8)), one(None, 2))
    assert arrays["image"].dtype == np.float32
    assert "uint8 samples were taken as float32" in notes[0]


def test_rounding_is_said() -> None:
    _, notes = bind(data(x=np.full((3, 2), 0.1)), one(None, 2))
    assert "rounded" in notes[0]


def test_values_that_do_not_fit_an_integer_input_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not fit int32"):
        bind(data(x=np.full((3, 2), 2**40)), one(None, 2, dtype="int32"))
    with pytest.raises(ConfigError, match="do not fit int64"):
        bind(data(x=np.full((3, 2), 0.5)), one(None, 2, dtype="int64"))


def test_another_layout_is_recognised() -> None:
    with pytest.raises(ConfigError) as error:
        bind(data(x=np.zeros((3, 1, 8, 9), np.float32)), one(None, 8, 9, 1))
    assert "transpose the array by (0, 2, 3, 1)" in error.value.fix


def test_unknown_and_missing_arrays_are_named() -> None:
    two = Signature(
        inputs=one(None, 2, name="a").inputs + one(None, 2, name="b").inputs, outputs=()
    )
    row = np.zeros((3, 2), np.float32)
    with pytest.raises(ConfigError, match="no array for input 'b'"):
        bind(data(a=row), two)
    with pytest.raises(ConfigError, match="does not take: c"):
        bind(data(a=row, b=row, c=row), two)


def test_arrays_of_unequal_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="same number of rows"):
        data(x=np.zeros((3, 2)), y=np.zeros(4))


@pytest.mark.parametrize(
    ("shape", "rows", "calls"),
    [
        ((None, 2), 1, (1,)),
        ((None, 2), 17, (1, 16)),
        ((None, 2), 20, (1, 16, 3)),
        ((1, 2), 3, (1, 1, 1)),
        ((4, 2), 6, (4, 4)),
    ],
)
def test_calls_cover_all_rows(
    tmp_path: Path, shape: Shape, rows: int, calls: tuple[int, ...]
) -> None:
    path = tmp_path / "feed.npz"
    array = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    feed = write_feed({"image": array}, one(*shape), path)
    assert feed.calls == calls
    written = read_npz(path)["image"]
    assert len(written) == sum(calls)
    assert np.array_equal(written[:rows], array)
    assert np.array_equal(rows_of({"y": written}, feed)["y"], array)


def test_a_model_without_a_batch_axis_is_called_row_by_row(tmp_path: Path) -> None:
    feed = write_feed({"image": np.zeros((5, 2), np.float32)}, one(2), tmp_path / "f.npz")
    assert feed.stacked
    assert feed.calls == (5,)


def test_examples_never_have_one_row_along_a_free_axis(tmp_path: Path) -> None:
    path = tmp_path / "examples.npz"
    write_examples({"image": np.zeros((1, 3), np.float32)}, one(None, 3), path)
    assert read_npz(path)["image"].shape == (2, 3)
    write_examples({"image": np.zeros((5, 3), np.float32)}, one(1, 3), path)
    assert read_npz(path)["image"].shape == (1, 3)


def test_synthetic_inputs_are_seeded_and_integers_are_safe_ids() -> None:
    tokens = synthetic(one(None, 7, dtype="int64"), seed=0)["image"]
    assert set(np.unique(tokens)) <= {0, 1}
    first, again = (synthetic(one(None, None, None, 3), seed=3)["image"] for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == (8, 64, 64, 3)


def test_specs_read_off_data_have_a_free_first_axis() -> None:
    [spec] = specs_of(data(x=np.zeros((5, 3, 8))))
    assert (spec.dtype, spec.shape) == ("float32", (None, 3, 8))


def test_npz_keeps_any_name(tmp_path: Path) -> None:
    arrays = {"file": np.ones(2), "serving_default/x:0": np.zeros(3)}
    write_npz(tmp_path / "a.npz", arrays)
    assert read_npz(tmp_path / "a.npz").keys() == arrays.keys()


def test_csv_splits_off_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,y,b\n1,2,3\n4,5,6\n")
    read = read_data(path)
    assert read.inputs["x"].tolist() == [[1, 3], [4, 6]]
    assert read.labels[""].dtype == np.int64


def test_csv_without_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(ConfigError, match="no header"):
        read_data(path)


def test_a_folder_holds_whole_arrays_or_single_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array([1, 2]))
    (tmp_path / "image").mkdir()
    for i in range(2):
        np.save(tmp_path / "image" / f"{i}.npy", np.full((2, 2), i))
    read = read_data(tmp_path)
    assert read.inputs["image"].shape == (2, 2, 2)
    assert read.labels[""].tolist() == [1, 2]


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_data(tmp_path / "d.npz")


def test_inputs_with_and_without_a_batch_axis_are_refused(tmp_path: Path) -> None:
    mixed = Signature(inputs=one(None, 2, name="a").inputs + one(2, name="b").inputs, outputs=())
    rows = np.zeros((3, 2), np.float32)
    with pytest.raises(UnsupportedError, match="batch axis"):
        write_feed({"a": rows, "b": rows}, mixed, tmp_path / "f.npz")
