"""Image files as the arrays a model takes, as `Preprocess` says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.config.table import Selection, Series
from edgekit.core.arrays import Array
from edgekit.core.recipe import Preprocess
from edgekit.core.signature import Shape, show_shape
from edgekit.errors import ConfigError, UnavailableError

_MODES = {"rgb": "RGB", "bgr": "RGB", "grey": "L", "gray": "L"}
_LAYOUTS = ("nhwc", "nchw", "nhw")
_PLAIN = frozenset({"1", "L", "RGB", "P", "YCbCr"})
_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_OPAQUE = 255


def image_series(folder: Path, files: Sequence[str], preprocess: Preprocess) -> Series:
    """The images of `files` in `folder`, in order; the first tells the shape of all.

    An image is turned as its EXIF orientation says, brought to `color`, resized (bilinear, with
    antialiasing), cropped, scaled and laid out. Raises UnavailableError where Pillow is not
    installed, ConfigError naming the file that cannot be used.
    """
    _check_settings(preprocess)
    pillow = _pillow()
    first = _image(pillow, folder / files[0], preprocess)

    def blocks(selection: Selection) -> Iterator[Array]:
        for cut in selection:
            block = np.empty((len(cut), *first.shape), first.dtype)
            for at, row in enumerate(cut):
                image = _image(pillow, folder / files[row], preprocess)
                if image.shape != first.shape:
                    raise ConfigError(
                        f"{folder / files[row]} makes an array {image.shape}, {files[0]} one {first.shape}",
                        fix="images of different sizes need one: size = [HEIGHT, WIDTH] in [preprocess]",
                    )
                block[at] = image
            yield block

    return Series(count=len(files), shape=first.shape, dtype=first.dtype, blocks=blocks)


def shape_fix(shape: tuple[int, ...], wanted: Shape, preprocess: Preprocess) -> str:
    """The lines of [preprocess] that make images fit an input of shape `wanted`."""
    found = _geometry(wanted)
    if found is None:
        return f"an input of shape {show_shape(wanted)} takes no images: give arrays"
    layout, height, width, channels = found
    grey = _MODES[preprocess.color] == "L"
    lines = [f'layout = "{layout}"'] if layout != preprocess.layout else []
    if channels == 1 and not grey:
        lines.append('color = "grey"')
    if channels == 3 and grey:
        lines.append('color = "rgb"')
    at = 2 if preprocess.layout == "nchw" else 1
    if (height, width) != shape[at : at + 2] and height and width:
        lines.append(f"{'crop' if preprocess.crop else 'size'} = [{height}, {width}]")
    return f"in [preprocess] of the recipe: {', '.join(lines)}"


def _geometry(wanted: Shape) -> tuple[str, int | None, int | None, int] | None:
    """Layout, height, width and channels of an input that takes images, or None."""
    if len(wanted) == 3:
        return "nhw", wanted[1], wanted[2], 1
    if len(wanted) != 4:
        return None
    if wanted[3] in (1, 3):
        return "nhwc", wanted[1], wanted[2], wanted[3] or 0
    if wanted[1] in (1, 3):
        return "nchw", wanted[2], wanted[3], wanted[1] or 0
    return None


def _image(pillow: Any, path: Path, preprocess: Preprocess) -> Array:  # noqa: ANN401
    try:
        with pillow.Image.open(path) as opened:
            _check_kind(opened, path)
            image = pillow.ImageOps.exif_transpose(opened)
            image.load()
    except (OSError, SyntaxError, ValueError, pillow.Image.DecompressionBombError) as error:
        raise ConfigError(
            f"{path} cannot be read as an image: {error}", fix="mend the file or take it away"
        ) from error
    image = _resized(pillow, _colored(image, path, preprocess), preprocess)
    pixels = np.asarray(_cropped(image, path, preprocess), np.float32)
    if preprocess.color == "bgr":
        pixels = pixels[..., ::-1]
    if pixels.ndim == 2 and preprocess.layout != "nhw":
        pixels = pixels[..., np.newaxis]
    return _typed(_laid_out(_scaled(pixels, preprocess), preprocess), path, preprocess)


def _check_kind(image: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse what has no one right way into 8-bit channels. Reads no pixels yet.

    Pillow takes the upper byte of 16-bit colors without a word; only the tile says what is stored.
    """
    if image.mode.startswith(("I", "F")) or ";16" in str(image.tile):
        raise ConfigError(
            f"{path} has more than 8 bits per channel, which do not say what is white",
            fix="save it with 8 bits per channel, or give arrays (.npy) scaled as in training",
        )
    if image.mode not in _PLAIN | _WITH_ALPHA:
        raise ConfigError(
            f"{path} is a {image.mode} image, whose colors depend on a profile",
            fix="save it as RGB or grey",
        )
    # A phone's JPEG may carry a second picture (MPO); the first is the one that is shown.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ConfigError(f"{path} has {frames} frames", fix="save one frame to a file")


def _colored(image: Any, path: Path, preprocess: Preprocess) -> Any:  # noqa: ANN401
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        least, _ = image.convert("RGBA").getchannel("A").getextrema()
        if least < _OPAQUE:
            raise ConfigError(
                f"{path} is transparent in places, so its colors depend on what is behind",
                fix="flatten it onto the background it has in use",
            )
    # By way of RGB: a palette is not grey by itself.
    plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
    return plain.convert(_MODES[preprocess.color])


def _resized(pillow: Any, image: Any, preprocess: Preprocess) -> Any:  # noqa: ANN401
    if preprocess.size is None:
        return image
    height, width = preprocess.size
    if preprocess.keep_aspect:
        factor = max(height / image.height, width / image.width)
        height, width = round(image.height * factor), round(image.width * factor)
    return image.resize((width, height), pillow.Image.Resampling.BILINEAR)


def _cropped(image: Any, path: Path, preprocess: Preprocess) -> Any:  # noqa: ANN401
    crop = preprocess.crop or (preprocess.size if preprocess.keep_aspect else None)
    if crop is None:
        return image
    height, width = crop
    if height > image.height or width > image.width:
        raise ConfigError(
            f"{path} has {image.height} x {image.width} pixels where it is cropped to {height} x {width}",
            fix="give a size of at least the crop in [preprocess]",
        )
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))


def _scaled(pixels: NDArray[np.float32], preprocess: Preprocess) -> Array:
    """(value * scale - mean) / std, in float32 and in this order, as training code does it."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    for name, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(values) not in (0, 1, channels):
            raise ConfigError(
                f"{name} has {len(values)} values for {channels} channel(s)",
                fix="give one value, or one for each channel",
            )
    mean = np.array(preprocess.mean or 0, np.float32)
    std = np.array(preprocess.std or 1, np.float32)
    scaled: NDArray[np.float32] = (pixels * np.float32(preprocess.scale) - mean) / std
    return scaled


def _laid_out(pixels: Array, preprocess: Preprocess) -> Array:
    return pixels.transpose(2, 0, 1) if preprocess.layout == "nchw" else pixels


def _typed(values: Array, path: Path, preprocess: Preprocess) -> Array:
    wanted = np.dtype(preprocess.dtype)
    with np.errstate(invalid="ignore"):
        typed = values.astype(wanted)
    if wanted.kind != "f" and not np.array_equal(typed.astype(np.float32), values):
        raise ConfigError(
            f"{path}: values from {values.min():g} to {values.max():g} do not fit {wanted} unchanged",
            fix="choose scale, mean and std that give whole numbers in range, or a float dtype",
        )
    return typed


def _check_settings(preprocess: Preprocess) -> None:
    for name, value, known in (
        ("color", preprocess.color, tuple(_MODES)),
        ("layout", preprocess.layout, _LAYOUTS),
    ):
        if value not in known:
            raise ConfigError(
                f"[preprocess] {name} = {value!r} is not known", fix=f"one of {', '.join(known)}"
            )
    if preprocess.layout == "nhw" and _MODES[preprocess.color] != "L":
        raise ConfigError(
            f'[preprocess] layout = "nhw" has no channel axis for color = {preprocess.color!r}',
            fix='color = "grey", or layout = "nhwc"',
        )
    if any(value == 0 for value in preprocess.std):
        raise ConfigError("[preprocess] std holds 0, which divides", fix="give positive numbers")
    if any(n < 1 for n in (*(preprocess.size or ()), *(preprocess.crop or ()))):
        raise ConfigError(
            f"[preprocess] size {preprocess.size} or crop {preprocess.crop} is not positive",
            fix="give [HEIGHT, WIDTH] in pixels",
        )
    check_dtype(preprocess.dtype)


def check_dtype(name: str) -> None:
    """Raise ConfigError unless `name` is a dtype of numbers."""
    try:
        known = np.dtype(name).kind in "fiu"
    except TypeError:
        known = False
    if not known:
        raise ConfigError(
            f"[preprocess] dtype = {name!r} is not known", fix="float32, uint8, int8, ..."
        )


def _pillow() -> Any:  # noqa: ANN401
    try:
        import PIL
        from PIL import Image, ImageOps  # noqa: F401  # submodules of PIL
    except ImportError as error:
        raise UnavailableError(
            "reading images takes Pillow, which is not installed here",
            fix="pip install 'edgekit[data]'",
        ) from error
    return PIL
