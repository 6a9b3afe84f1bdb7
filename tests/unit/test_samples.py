"""Files and folders of samples, read whole or block by block, and refused by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.config.samples import open_table, read_data
from edgekit.config.table import Selection
from edgekit.core.arrays import Array
from edgekit.errors import ConfigError, UnavailableError
from tests.unit.sample_files import (
    by_blocks,
    pixels,
    read,
    save_image,
    save_sound,
    write_parquet,
)

# Arrays


@pytest.fixture
def x() -> Array:
    return np.random.default_rng(0).normal(size=(101, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("kind", ["npz", "compressed", "npy", "folder", "parquet"])
@pytest.mark.parametrize(("count", "rows"), [(101, 101), (101, 10), (101, 1), (10, 4), (67, 7)])
def test_blocks_of_a_selection_are_rows_of_the_whole(
    tmp_path: Path, x: Array, kind: str, count: int, rows: int
) -> None:
    path = written(tmp_path, x, kind)
    got = by_blocks(path, Selection(available=101, count=count, rows=rows))["x"]
    assert np.array_equal(got, x[np.arange(count) * 101 // count])
    assert got.dtype == np.float32


def written(folder: Path, x: Array, kind: str) -> Path:
    path = folder / f"my data.{'npz' if kind == 'compressed' else kind}"
    if kind == "npz":
        np.savez(path, x=x)
    elif kind == "compressed":
        np.savez_compressed(path, x=x)
    elif kind == "npy":
        np.save(path, x)
    elif kind == "folder":
        (path / "x").mkdir(parents=True)
        for i, row in enumerate(x):
            np.save(path / "x" / f"{i:03}.npy", row)
    else:
        write_parquet(path, x=x.tolist())
    return path


def test_arrays_in_column_order_come_out_right(tmp_path: Path) -> None:
    x = np.asfortranarray(np.arange(300.0).reshape(100, 3))
    np.save(tmp_path / "x.npy", x)
    assert np.array_equal(read(tmp_path / "x.npy"), x)
    part = by_blocks(tmp_path / "x.npy", Selection(available=100, count=9, rows=2))["x"]
    assert np.array_equal(part, x[np.arange(9) * 100 // 9])


def test_a_file_that_is_cut_short_is_refused_before_it_is_read(tmp_path: Path, x: Array) -> None:
    path = written(tmp_path, x, "npy")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ConfigError, match=r"my data\.npy.*cut short: 2,548 bytes of 2,552"):
        open_table(path)


def test_a_damaged_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, np.zeros((5000, 3, 2), np.float32), "npz")
    data = bytearray(path.read_bytes())
    data[60_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"my data\.npz cannot be read: Bad CRC"):
        read(path)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".parquet"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_bytes(b"no such thing")
    with pytest.raises(ConfigError, match=f"data{suffix} cannot be read"):
        read_data(path)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    for path in (tmp_path / "o.npy", tmp_path / "o.npz"):
        with path.open("wb") as file:
            array = np.array([{}, {}], dtype=object)
            (np.save if path.suffix == ".npy" else np.savez)(file, array)
        with pytest.raises(ConfigError, match="holds Python objects"):
            open_table(path)


def test_a_stranger_in_an_npz_is_named(tmp_path: Path, x: Array) -> None:
    import zipfile

    path = written(tmp_path, x, "npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(ConfigError, match=r"'notes\.txt' inside it is no \.npy array"):
        open_table(path)


def test_single_samples_of_another_shape_are_named(tmp_path: Path, x: Array) -> None:
    path = written(tmp_path, x, "folder")
    np.save(path / "x" / "050.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(ConfigError, match=r"050\.npy is float32 \(3, 4\), x/000\.npy is"):
        read(path)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text("[]")
    with pytest.raises(ConfigError) as error:
        read_data(tmp_path / "d.json")
    assert ".parquet" in error.value.fix


# Tables


def test_a_wrong_cell_of_a_csv_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,b,y\n1,2,cat\n3,,dog\n")
    with pytest.raises(ConfigError, match="line 3: b is '', which is no number"):
        read_data(path)
    path.write_text("a,b,y\n1,2,cat\n3,dog\n")
    with pytest.raises(ConfigError, match="line 3: 2 cells, the header has 3"):
        read_data(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("a,b\n", "same number of rows"),
        (",a\n0,1\n", "column 0 has no name"),
        ("a;b\n1;2\n", "separated by semicolons"),
        ("y\n1\n", "holds no inputs"),
    ],
)
def test_a_csv_that_is_no_table_of_features_is_refused(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_data(tmp_path / "d.csv")


def test_labels_of_a_csv_are_what_all_of_them_are(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    rows = [f"{i},{i}" for i in range(600)]
    path.write_text("\ufeffa,y\n" + "\n".join(rows))
    assert read_data(path).labels[""].dtype == np.int64
    path.write_text("a,y\n" + "\n".join([*rows, "600,0.5"]))
    assert read_data(path).labels[""].dtype == np.float64
    path.write_text("a,y\n" + "\n".join([*rows, "600,many"]))
    assert read_data(path).labels[""][[0, -1]].tolist() == ["0", "many"]


def test_a_selection_of_a_csv_keeps_features_and_labels_together(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,y\n" + "\n".join(f"{i},{i}" for i in range(1000)))
    got = by_blocks(path, Selection(available=1000, count=300, rows=64))
    assert got["x"][:, 0].tolist() == got["y"].tolist() == [i * 1000 // 300 for i in range(300)]


def test_parquet_columns_are_features_lists_are_inputs(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    write_parquet(path, a=[1, 2], b=[0.5, 1.5], y=["cat", "horse"])
    data = read_data(path)
    assert data.inputs["x"].tolist() == [[1, 0.5], [2, 1.5]]
    assert data.labels[""].tolist() == ["cat", "horse"]
    write_parquet(path, image=[[1, 2], [3, 4]], y=[0, 1])
    assert read_data(path).inputs["image"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"a": [1.0, None]}, "column 'a': row 1 is missing"),
        ({"a": ["1", "2"]}, "column 'a' holds string"),
        ({"a": [1], "__index_level_0__": [1]}, "is an index of pandas"),
        ({"x": [[[1]], [[1, 2]]]}, "lists of different lengths"),
        ({"a": []}, "same number of rows"),
    ],
)
def test_a_parquet_that_is_no_table_of_numbers_is_refused(
    tmp_path: Path, columns: dict[str, Any], says: str
) -> None:
    write_parquet(tmp_path / "d.parquet", **columns)
    with pytest.raises(ConfigError, match=says):
        read_data(tmp_path / "d.parquet")


# Folders


def test_a_folder_of_two_kinds_is_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", pixels(2, 2, 3))
    save_sound(tmp_path / "a.wav", np.zeros(20))
    with pytest.raises(ConfigError, match=r"holds \.wav and images"):
        read_data(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no samples"):
        read_data(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ConfigError, match=r"holds no samples \(train\)"):
        read_data(tmp_path)


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "cat" / "a.png", pixels(2, 2, 3))
    save_image(tmp_path / "b.png", pixels(2, 2, 3))
    with pytest.raises(ConfigError, match=r"b\.png lie\(s\) beside the class folders cat"):
        read_data(tmp_path)


def test_files_of_other_kinds_are_noted_and_hidden_ones_are_not_there(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", pixels(2, 2, 3))
    (tmp_path / "labels.txt").write_text("a 1")
    (tmp_path / ".DS_Store").write_text("")
    assert read_data(tmp_path).notes == ("1 other file(s) were passed over: labels.txt",)


def test_only_selected_files_are_opened(tmp_path: Path) -> None:
    for i in range(4):
        save_image(tmp_path / f"{i}.png", np.full((2, 2, 3), i))
    (tmp_path / "1.png").write_bytes(b"broken")
    got = by_blocks(tmp_path, Selection(available=4, count=2, rows=1))["x"]
    assert got[:, 0, 0, 0].tolist() == [0, 2]


@pytest.mark.parametrize(("module", "name"), [("PIL", "Pillow"), ("pyarrow", "pyarrow")])
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    folder = save_image(tmp_path / "in" / "a.png", pixels(2, 2, 3))
    write_parquet(tmp_path / "d.parquet", a=[1])
    for loaded in [m for m in sys.modules if m.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnavailableError, match=f"takes {name}") as error:
        read_data(folder if module == "PIL" else tmp_path / "d.parquet")
    assert error.value.fix == "pip install 'edgekit[data]'"
