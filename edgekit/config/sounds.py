"""`.wav` files as the arrays a model takes: mono, at one sample rate, of one length."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgekit.config.images import check_dtype
from edgekit.config.table import Selection, Series
from edgekit.core.arrays import Array
from edgekit.core.recipe import Preprocess
from edgekit.core.signature import Shape
from edgekit.errors import ConfigError

_LAYOUTS = ("nhwc", "nt", "ntc", "nct")
_PLAIN = frozenset({"nhwc", "nt"})
"""The default layout of images says nothing about sounds: one axis of time."""


def sound_series(folder: Path, files: Sequence[str], preprocess: Preprocess) -> Series:
    """The PCM sounds of `files`: channels averaged, -1..1 times `scale`; the first tells the length.

    Raises ConfigError naming the file that is no PCM, or has another sample rate or length.
    """
    _check_settings(preprocess)
    first = _sound(folder / files[0], preprocess)

    def blocks(selection: Selection) -> Iterator[Array]:
        for cut in selection:
            block = np.empty((len(cut), *first.shape), first.dtype)
            for at, row in enumerate(cut):
                sound = _sound(folder / files[row], preprocess)
                if sound.size != first.size:
                    raise ConfigError(
                        f"{folder / files[row]} has {sound.size} samples, {files[0]} has {first.size}",
                        fix="cut or pad all sounds to the length the model takes",
                    )
                block[at] = sound
            yield block

    return Series(count=len(files), shape=first.shape, dtype=first.dtype, blocks=blocks)


def shape_fix(shape: tuple[int, ...], wanted: Shape, preprocess: Preprocess) -> str:
    """What makes sounds of `shape` fit an input of shape `wanted`."""
    length = int(np.prod(shape[1:]))
    for layout, axes in (
        ("nt", (length,)),
        ("ntc", (length, 1)),
        ("nct", (1, length)),
    ):
        if len(wanted) == len(axes) + 1 and all(
            w in (None, n) for w, n in zip(wanted[1:], axes, strict=True)
        ):
            return f'in [preprocess] of the recipe: layout = "{layout}"'
    rate = preprocess.sample_rate_hz
    return (
        f"the sounds have {length} samples at {rate} Hz: cut or pad them to the model's length, "
        "or give the features it takes as arrays"
    )


def _sound(path: Path, preprocess: Preprocess) -> Array:
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            frames = file.getnframes()
            data = file.readframes(frames)
    except (wave.Error, EOFError, OSError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}",
            fix="give whole PCM files, for example of: ffmpeg -i FILE -c:a pcm_s16le OUT.wav",
        ) from error
    if len(data) != frames * width * channels or not frames:
        raise ConfigError(
            f"{path} is cut short: {len(data):,} bytes of {frames * width * channels:,}",
            fix="mend the file or take it away",
        )
    if rate != preprocess.sample_rate_hz:
        raise ConfigError(
            f"{path} is sampled at {rate} Hz, the model's data at "
            f"{preprocess.sample_rate_hz or 'a rate that is not given'}",
            fix=_rate_fix(rate, preprocess.sample_rate_hz),
        )
    values = _pcm(data, width, path).reshape(frames, channels).mean(axis=1)
    return _laid_out(values * preprocess.scale, path, preprocess)


def _pcm(data: bytes, width: int, path: Path) -> Array:
    """Whole numbers of `width` bytes as float64 in -1..1; 8-bit files are the unsigned ones."""
    if width == 1:
        return (np.frombuffer(data, np.uint8) - 128.0) / 128.0
    if width == 3:
        bytes_ = np.frombuffer(data, np.uint8).reshape(-1, 3)
        padded = np.zeros((len(bytes_), 4), np.uint8)
        padded[:, 1:] = bytes_
        return padded.view("<i4")[:, 0] / 2.0**31
    if width in (2, 4):
        return np.frombuffer(data, f"<i{width}") / 2.0 ** (8 * width - 1)
    raise ConfigError(f"{path} has {8 * width} bits a sample", fix="save it as 16-bit PCM")


def _laid_out(values: Array, path: Path, preprocess: Preprocess) -> Array:
    wanted = np.dtype(preprocess.dtype)
    typed = values.astype(wanted)
    if wanted.kind != "f" and not np.array_equal(typed, values):
        raise ConfigError(
            f"{path}: values from {values.min():g} to {values.max():g} do not fit {wanted} unchanged",
            fix="sounds are in -1..1 times scale: 32768 gives back 16-bit PCM",
        )
    if preprocess.layout == "ntc":
        return typed[:, np.newaxis]
    return typed if preprocess.layout in _PLAIN else typed[np.newaxis]


def _check_settings(preprocess: Preprocess) -> None:
    given = [name for name in ("size", "crop", "mean", "std") if getattr(preprocess, name)]
    if given:
        raise ConfigError(
            f"[preprocess] {', '.join(given)}: of images, not of sounds",
            fix="sounds take scale, layout, dtype and sample_rate_hz",
        )
    if preprocess.layout not in _LAYOUTS:
        raise ConfigError(
            f"[preprocess] layout = {preprocess.layout!r} is not one of sounds",
            fix="nt, ntc or nct: samples, time, one channel",
        )
    check_dtype(preprocess.dtype)


def _rate_fix(rate: int, wanted: int | None) -> str:
    if wanted is None:
        return (
            f"in [preprocess] of the recipe: sample_rate_hz = {rate}, if the model was trained so"
        )
    return f"resample the files: ffmpeg -i FILE -ar {wanted} OUT.wav"
