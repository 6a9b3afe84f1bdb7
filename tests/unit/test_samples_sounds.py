"""Folders of sounds as a model takes them; other rates, lengths and codings are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.recipe import Preprocess
from edgekit.core.signature import Shape
from edgekit.errors import ConfigError
from tests.unit.sample_files import (
    RATE,
    fix_for,
    read,
    save_sound,
)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sounds_of_every_width_are_the_same_in_one_scale(tmp_path: Path, width: int) -> None:
    tone = np.sin(np.arange(200) / 7) * 0.9
    folder = save_sound(tmp_path / "in" / "a.wav", tone, width=width)
    made = read(folder, Preprocess(sample_rate_hz=RATE))
    assert made.shape == (1, 200)
    assert np.allclose(made[0], tone, atol=2.0 ** (1 - 7 * width) + 1e-6)


def test_channels_are_mixed(tmp_path: Path) -> None:
    folder = save_sound(tmp_path / "in" / "a.wav", np.array([0.5, 0.0] * 10), channels=2)
    made = read(folder, Preprocess(sample_rate_hz=RATE))
    assert np.allclose(made, 0.25, atol=1e-4)
    assert made.shape == (1, 10)


def test_pcm_can_be_had_back(tmp_path: Path) -> None:
    tone = np.sin(np.arange(200) / 7)
    folder = save_sound(tmp_path / "in" / "a.wav", tone)
    made = read(folder, Preprocess(sample_rate_hz=RATE, scale=32768, dtype="int16", layout="ntc"))
    assert np.array_equal(made[0, :, 0], np.round(tone * 32767))


@pytest.mark.parametrize(
    ("preprocess", "says"),
    [
        (Preprocess(sample_rate_hz=8000), "is sampled at 16000 Hz, the model's data at 8000"),
        (None, "at a rate that is not given"),
        (Preprocess(size=(4, 4), mean=(1.0,)), "size, mean: of images, not of sounds"),
        (Preprocess(sample_rate_hz=RATE, layout="nchw"), "'nchw' is not one of sounds"),
        (Preprocess(sample_rate_hz=RATE, dtype="int16"), "do not fit int16 unchanged"),
    ],
)
def test_sounds_that_do_not_match_their_preprocessing_are_refused(
    tmp_path: Path, preprocess: Preprocess | None, says: str
) -> None:
    folder = save_sound(tmp_path / "in" / "a.wav", np.sin(np.arange(200)))
    with pytest.raises(ConfigError, match=says):
        read(folder, preprocess)


def test_sounds_of_two_lengths_are_named(tmp_path: Path) -> None:
    save_sound(tmp_path / "in" / "a.wav", np.zeros(200))
    folder = save_sound(tmp_path / "in" / "b.wav", np.zeros(199))
    with pytest.raises(ConfigError, match=r"b\.wav has 199 samples, a\.wav has 200"):
        read(folder, Preprocess(sample_rate_hz=RATE))


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((None, 200, 1), 'layout = "ntc"'),
        ((None, 1, 200), 'layout = "nct"'),
        ((None, 300), "have 200 samples at 16000 Hz: cut or pad"),
    ],
)
def test_sounds_that_do_not_fit_are_refused_with_the_fix(
    tmp_path: Path, shape: Shape, fix: str
) -> None:
    folder = save_sound(tmp_path / "in" / "a.wav", np.zeros(200))
    assert fix in fix_for(folder, shape, Preprocess(sample_rate_hz=RATE))


def test_a_sound_that_is_no_pcm_or_cut_short_is_named(tmp_path: Path) -> None:
    folder = save_sound(tmp_path / "in" / "a.wav", np.zeros(200))
    good = (folder / "a.wav").read_bytes()
    for broken, says in (
        (good[:-10], "cut short|cannot be read"),
        (good.replace(b"fmt \x10\0\0\0\x01\0", b"fmt \x10\0\0\0\x03\0"), "unknown format: 3"),
        (b"RIFF", "cannot be read"),
    ):
        (folder / "a.wav").write_bytes(broken)
        with pytest.raises(ConfigError, match=rf"a\.wav.*({says})"):
            read(folder, Preprocess(sample_rate_hz=RATE))
