"""Folders of images as a model takes them; what has no one right reading is refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.config.samples import open_table, read_data
from edgekit.core.recipe import Preprocess
from edgekit.core.signature import Shape
from edgekit.errors import ConfigError
from tests.unit.sample_files import (
    fix_for,
    pixels,
    read,
    save_image,
)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".PPM", ".tiff"])
def test_images_are_read_as_they_are(tmp_path: Path, suffix: str) -> None:
    image = pixels(4, 6, 3)
    folder = save_image(tmp_path / "in" / f"a{suffix}", image)
    assert np.array_equal(read(folder), image[None])
    assert read(folder).dtype == np.float32


def test_class_folders_are_labels_in_sorted_order(tmp_path: Path) -> None:
    for name, count in (("dog", 2), ("cat", 1), ("eel", 3)):
        for i in range(count):
            save_image(tmp_path / name / f"{i}.png", np.full((2, 2, 3), len(name) + i))
    data = read_data(tmp_path)
    assert data.labels[""].tolist() == [0, 1, 1, 2, 2, 2]
    assert open_table(tmp_path).classes == ("cat", "dog", "eel")
    assert "label" not in read_data(tmp_path / "cat").labels


def test_numbered_class_folders_out_of_order_are_noted(tmp_path: Path) -> None:
    for name in ("0", "2", "10"):
        save_image(tmp_path / name / "a.png", np.zeros((2, 2, 3)))
    [note] = read_data(tmp_path).notes
    assert "0 is 0, 10 is 1, 2 is 2" in note


def test_the_orientation_of_a_photograph_is_respected(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    image = pixels(2, 4, 3)
    folder = save_image(tmp_path / "in" / "a.png", image, exif=exif)
    assert np.array_equal(read(folder)[0], np.rot90(image, -1))


def test_preprocessing_is_that_of_training(tmp_path: Path) -> None:
    image = pixels(6, 6, 3)
    folder = save_image(tmp_path / "in" / "a.png", image)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    made = read(folder, Preprocess(crop=(4, 2), scale=1 / 255, mean=mean, std=std, layout="nchw"))
    expected = ((image[1:5, 2:4] / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)
    assert made.shape == (1, 3, 4, 2)
    assert np.allclose(made[0], expected, atol=1e-6)


def test_size_stretches_unless_the_aspect_is_kept(tmp_path: Path) -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, :5] = image[:, 15:] = 255
    folder = save_image(tmp_path / "in" / "a.png", image)
    stretched, kept = (
        read(folder, Preprocess(size=(10, 10), keep_aspect=keep)) for keep in (False, True)
    )
    assert stretched.shape == kept.shape == (1, 10, 10, 3)
    assert stretched[0, 5, 0, 0] == 255
    assert kept.max() == 0


def test_grey_and_color_are_made_from_each_other(tmp_path: Path) -> None:
    grey, color = pixels(4, 4), pixels(4, 4, 3)
    folder = save_image(tmp_path / "grey" / "a.png", grey)
    assert np.array_equal(read(folder)[0], np.repeat(grey[..., None], 3, axis=2))
    assert read(folder, Preprocess(color="grey")).shape == (1, 4, 4, 1)
    assert read(folder, Preprocess(color="grey", layout="nhw")).shape == (1, 4, 4)
    folder = save_image(tmp_path / "color" / "a.png", color)
    luma = color @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.allclose(read(folder, Preprocess(color="grey"))[0, ..., 0], luma, atol=1)
    assert np.array_equal(read(folder, Preprocess(color="bgr"))[0], color[..., ::-1])


def test_a_palette_is_read_as_its_colors(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 10, 200, 30
    (tmp_path / "in").mkdir()
    Image.fromarray(image).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "in/a.png")
    assert np.array_equal(read(tmp_path / "in")[0], image)


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path) -> None:
    image = np.full((4, 4, 4), 255, np.uint8)
    image[..., :3] = pixels(4, 4, 3)
    folder = save_image(tmp_path / "in" / "a.png", image)
    assert np.array_equal(read(folder)[0], image[..., :3])
    image[1, 1, 3] = 254
    save_image(tmp_path / "in" / "a.png", image)
    with pytest.raises(ConfigError, match=r"a\.png is transparent in places"):
        read(folder)


@pytest.mark.parametrize("color_type", [0, 2, 4, 6])
def test_sixteen_bits_are_refused_not_halved(tmp_path: Path, color_type: int) -> None:
    (tmp_path / "deep.png").write_bytes(deep_png(color_type))
    with pytest.raises(ConfigError, match=r"deep\.png has more than 8 bits per channel"):
        read(tmp_path)


def deep_png(color_type: int) -> bytes:
    """A PNG of 4 x 4 pixels with 16 bits a channel: grey, RGB, grey with alpha, RGBA."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color_type]
    rows = (b"\0" + b"\x12\x34" * 4 * channels) * 4
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, color_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_cmyk_and_moving_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.jpg"
    Image.new("CMYK", (4, 4)).save(path)
    with pytest.raises(ConfigError, match="is a CMYK image"):
        read(path.parent)
    path.unlink()
    frames = [Image.new("L", (4, 4), color=i) for i in range(3)]
    frames[0].save(tmp_path / "in" / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ConfigError, match="has 3 frames"):
        read(path.parent)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder = save_image(tmp_path / "in" / "a.png", pixels(40, 40, 3))
    data = (folder / "a.png").read_bytes()
    for broken in (data[: len(data) // 2], b"no image"):
        (folder / "b.png").write_bytes(broken)
        with pytest.raises(ConfigError, match=r"b\.png cannot be read as an image"):
            read(folder)


def test_images_of_two_sizes_are_named(tmp_path: Path) -> None:
    save_image(tmp_path / "in" / "a.png", pixels(4, 4, 3))
    folder = save_image(tmp_path / "in" / "b.png", pixels(4, 5, 3))
    with pytest.raises(
        ConfigError, match=r"b\.png makes an array \(4, 5, 3\), a\.png one"
    ) as error:
        read(folder)
    assert "size = [HEIGHT, WIDTH]" in error.value.fix
    assert read(folder, Preprocess(size=(4, 4))).shape == (2, 4, 4, 3)


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((None, 8, 9, 3), "size = [8, 9]"),
        ((None, 3, 4, 4), 'layout = "nchw"'),
        ((None, 4, 4, 1), 'color = "grey"'),
        ((None, 1, 9, 8), 'layout = "nchw", color = "grey", size = [9, 8]'),
        ((None, 28, 28), 'layout = "nhw", color = "grey", size = [28, 28]'),
    ],
)
def test_images_that_do_not_fit_are_refused_with_the_lines_to_write(
    tmp_path: Path, shape: Shape, fix: str
) -> None:
    folder = save_image(tmp_path / "in" / "a.png", pixels(4, 4, 3))
    assert fix_for(folder, shape) == f"in [preprocess] of the recipe: {fix}"


def test_an_input_that_takes_no_images_is_said_so(tmp_path: Path) -> None:
    folder = save_image(tmp_path / "in" / "a.png", pixels(4, 4, 3))
    assert "(N, 640) takes no images" in fix_for(folder, (None, 640))


@pytest.mark.parametrize(
    ("preprocess", "says"),
    [
        (Preprocess(crop=(8, 8)), "has 4 x 4 pixels where it is cropped to 8 x 8"),
        (Preprocess(mean=(1.0, 2.0)), r"mean has 2 values for 3 channel\(s\)"),
        (Preprocess(std=(1.0, 0.0, 1.0)), "std holds 0"),
        (Preprocess(layout="chw"), "layout = 'chw' is not known"),
        (Preprocess(color="rbg"), "color = 'rbg' is not known"),
        (Preprocess(layout="nhw"), "no channel axis for color = 'rgb'"),
        (Preprocess(dtype="float"), "never"),
        (Preprocess(dtype="flaot32"), "dtype = 'flaot32' is not known"),
        (Preprocess(dtype="int8"), "do not fit int8 unchanged"),
        (Preprocess(dtype="uint8", scale=1 / 255), "do not fit uint8 unchanged"),
        (Preprocess(size=(0, 4)), "is not positive"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(
    tmp_path: Path, preprocess: Preprocess, says: str
) -> None:
    folder = save_image(tmp_path / "in" / "a.png", np.array(pixels(4, 4, 3)) | 1)
    if says == "never":
        assert read(folder, preprocess).dtype == np.float64
        return
    with pytest.raises(ConfigError, match=says):
        read(folder, preprocess)


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    image = pixels(4, 4, 3)
    folder = save_image(tmp_path / "in" / "a.png", image)
    made = read(folder, Preprocess(dtype="int8", mean=(128,)))
    assert np.array_equal(made[0], image.astype(int) - 128)
