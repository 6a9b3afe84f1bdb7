"""Calibration samples: staged as the model takes them, looked over, refused where they do harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConfigError, StepError, UnsupportedError
from tests.unit.calibration_stage import Stage, images, model, staged


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


# What is staged


def test_samples_are_raw_files_of_the_models_names_and_dtypes(stage: Stage) -> None:
    x = (images(40) * 255).astype(np.uint8)
    calibration, report = stage(x=x)
    assert calibration.count == report.count == report.available == 40
    assert staged(calibration).dtype == np.float32
    assert np.array_equal(staged(calibration), x)
    assert any("uint8 samples were taken as float32" in note for note in report.notes)


def test_every_input_of_a_model_is_staged_under_its_own_name(stage: Stage) -> None:
    a, b = images(40, seed=1), images(40, seed=2)
    calibration, report = stage(model(names=("a", "b/c:0")), **{"a": a, "b/c:0": b})  # type: ignore[arg-type]
    assert np.array_equal(staged(calibration, "a"), a)
    assert np.array_equal(staged(calibration, "b/c:0"), b)
    assert set(report.input_ranges) == {"a", "b/c:0"}


def test_labels_are_staged_for_fine_tuning(stage: Stage) -> None:
    y = np.arange(40) % 4
    calibration, _ = stage(x=images(40), y=y)
    assert np.array_equal(np.load(calibration.labels[""]), y)


def test_a_number_of_samples_is_taken_evenly_spaced(stage: Stage) -> None:
    x = images(100)
    calibration, report = stage(x=x, num_samples=40)
    assert np.array_equal(staged(calibration), x[np.arange(40) * 100 // 40])
    assert (report.count, report.available) == (40, 100)


def test_fewer_samples_than_were_asked_for_is_noted(stage: Stage) -> None:
    _, report = stage(x=images(40), num_samples=500)
    assert (report.count, report.available) == (40, 40)
    assert "500 calibration samples were asked for, there are 40" in report.notes
    with pytest.raises(ConfigError, match="leaves nothing"):
        stage(x=images(40), num_samples=0)


def test_many_blocks_make_one_file(stage: Stage) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 500)).astype(np.float32)
    calibration, _ = stage(model(None, 500), x=x)
    assert np.array_equal(staged(calibration), x)


def test_equal_data_has_an_equal_digest(stage: Stage) -> None:
    first, again, other = (stage(x=images(40, seed=s))[0].sha256 for s in (1, 1, 2))
    assert first == again != other


def test_the_rules_of_evaluation_data_hold(stage: Stage) -> None:
    with pytest.raises(ConfigError) as error:
        stage(x=images(40).transpose(0, 3, 1, 2))
    assert "transpose the array by (0, 2, 3, 1)" in error.value.fix
    with pytest.raises(ConfigError, match="does not take: extra"):
        stage(x=images(40), extra=images(40))
    with pytest.raises(ConfigError, match="do not fit int32"):
        stage(model(None, 2, dtype="int32"), x=np.full((40, 2), 2**40))


def test_a_model_of_text_is_refused(stage: Stage) -> None:
    with pytest.raises(UnsupportedError, match="learned from numbers"):
        stage(model(None, 1, dtype="str"), x=np.array([["a"]]))


def test_a_disk_that_is_too_small_is_said_before_it_is_full(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("edgekit.config.calibration.shutil.disk_usage", lambda _: usage)
    with pytest.raises(StepError, match="has 100 free"):
        stage(x=images(40))


# What is refused for its values


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_a_value_that_is_no_number_is_refused_with_its_sample(
    stage: Stage, value: float, word: str
) -> None:
    x = images(40)
    x[17, 3, 2, 1] = value
    with pytest.raises(ConfigError, match=rf"sample 17 of input 'image' holds {word}"):
        stage(x=x)
    stage(x=x, num_samples=20)  # sample 17 is not among them


def test_a_number_too_large_for_the_models_dtype_is_refused(stage: Stage) -> None:
    x = images(40).astype(np.float64)
    x[3, 0, 0, 0] = 1e300
    with pytest.raises(ConfigError, match=r"sample 3 .* holds infinity"):
        stage(x=x)


def test_data_without_any_change_is_refused(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="no input ever changes"):
        stage(x=np.zeros((40, 8, 8, 3), np.float32))


# Overlap with the evaluation data


def test_a_sample_of_the_evaluation_data_is_refused_by_both_numbers(stage: Stage) -> None:
    x, evaluation = images(40, seed=1), images(30, seed=2)
    x[7], x[9] = evaluation[22], evaluation[3]
    with pytest.raises(ConfigError) as error:
        stage(x=x, evaluation={"image": evaluation})
    assert "2 sample(s)" in error.value.message
    assert "sample 7 is evaluation sample 22, sample 9 is evaluation sample 3" in str(error.value)
    assert "--allow-overlap" in error.value.fix


def test_overlap_is_found_in_the_dtype_of_the_model(stage: Stage) -> None:
    whole = np.rint(images(40, top=255))
    with pytest.raises(ConfigError, match="40 sample"):
        stage(x=whole.astype(np.uint8), evaluation={"image": whole})


def test_overlap_is_found_though_the_last_bits_differ(stage: Stage) -> None:
    x = np.rint(images(40, top=255)).astype(np.uint8)
    one, other = x.astype(np.float32) / 255, x.astype(np.float32) * np.float32(1 / 255)
    assert not np.array_equal(one, other)
    with pytest.raises(ConfigError, match="40 sample"):
        stage(x=one, evaluation={"image": other})


def test_allowed_overlap_is_counted_and_noted(stage: Stage) -> None:
    x = images(40)
    _, report = stage(x=x, evaluation={"image": x[:5]}, allow_overlap=True)
    assert report.overlap == 5
    assert any("5 calibration sample(s) are in the evaluation data" in n for n in report.notes)


def test_a_sample_of_many_inputs_overlaps_only_as_a_whole(stage: Stage) -> None:
    a, b = images(40, seed=1), images(40, seed=2)
    _, report = stage(model(names=("a", "b")), a=a, b=b, evaluation={"a": a, "b": b[::-1].copy()})
    assert report.overlap == 0


def test_one_huge_evaluation_value_does_not_make_others_the_same(stage: Stage) -> None:
    x = np.random.default_rng(0).uniform(0.9, 1.1, (40, 2)).astype(np.float32)
    evaluation = np.random.default_rng(1).uniform(0.9, 1.1, (40, 2)).astype(np.float32)
    evaluation[0, 0] = 1e6
    _, report = stage(model(None, 2), x=x, evaluation={"image": evaluation})
    assert report.overlap == 0


def test_similar_samples_are_no_overlap(stage: Stage) -> None:
    x = images(40)
    _, report = stage(x=x, evaluation={"image": np.add(x, np.float32(1e-3))})
    assert report.overlap == 0


# Scale against the evaluation data


@pytest.mark.parametrize(("top", "evaluated"), [(1.0, 255.0), (255.0, 1.0), (1.0, 16.0)])
def test_another_scale_is_refused(stage: Stage, top: float, evaluated: float) -> None:
    with pytest.raises(ConfigError, match="scaled differently"):
        stage(x=images(40, top=top), evaluation={"image": images(30, seed=1, top=evaluated)})


def test_another_offset_is_refused(stage: Stage) -> None:
    evaluation = images(30, seed=1) * 2 - 1
    with pytest.raises(ConfigError, match="outside the calibrated range"):
        stage(x=images(40), evaluation={"image": evaluation})


def test_one_wild_evaluation_sample_refuses_nothing(stage: Stage) -> None:
    evaluation = images(30, seed=1)
    evaluation[4] *= 1000
    _, report = stage(x=images(40), evaluation={"image": evaluation})
    assert report.outside_share == pytest.approx(1 / 30, abs=0.02)
    assert any("outside the calibrated range" in note for note in report.notes)


def test_a_wider_calibration_is_only_doubted(stage: Stage) -> None:
    _, report = stage(x=images(40, top=16), evaluation={"image": images(30, seed=1)})
    assert any("scaled differently" in note for note in report.notes)


def test_another_normalization_is_doubted_though_nothing_clips(stage: Stage) -> None:
    x = np.subtract(images(40), np.float32(0.5)) * 4
    _, report = stage(x=x, evaluation={"image": images(30, seed=1)})
    assert report.outside_share == 0
    assert report.beyond_share is not None
    assert any("are both prepared in the same way?" in note for note in report.notes)


def test_ids_have_no_scale(stage: Stage) -> None:
    tokens = np.random.default_rng(0).integers(0, 30_000, (40, 9))
    _, report = stage(
        model(None, 9, dtype="int64"), x=tokens, evaluation={"image": tokens[:5] % 7 + 1}
    )
    assert report.outside_share is None
    assert report.notes == ()


# What is reported


def test_good_samples_need_no_advice(stage: Stage) -> None:
    _, report = stage(
        x=images(200), y=np.arange(200) % 10, evaluation={"image": images(100, seed=1)}
    )
    assert report.notes == ()
    assert report.outside_share is not None
    assert report.outside_share < 0.01


def test_ranges_are_those_of_the_samples(stage: Stage) -> None:
    x = images(40)
    _, report = stage(x=x)
    assert report.input_ranges == {"image": (float(x.min()), float(x.max()))}


def test_repeated_samples_are_counted(stage: Stage) -> None:
    x = images(40)
    x[30:] = x[:10]
    _, report = stage(x=x)
    assert report.duplicates == 10
    assert any("10 of 40 calibration samples repeat" in note for note in report.notes)


def test_classes_are_counted_and_gaps_named(stage: Stage) -> None:
    _, report = stage(x=images(40), y=np.repeat([0, 1, 3, 4], 10))
    assert report.classes == {"0": 10, "1": 10, "3": 10, "4": 10}
    assert "no calibration sample of class 2" in report.notes


def test_labels_that_are_no_classes_are_not_counted(stage: Stage) -> None:
    _, report = stage(x=images(40), y=np.linspace(0, 1, 40))
    assert report.classes is None
    _, report = stage(x=images(40), y=np.zeros((40, 4)))
    assert report.classes is None


def test_a_class_that_crowds_out_the_others_is_named(stage: Stage) -> None:
    _, report = stage(x=images(40), y=np.array([1] * 38 + [0] * 2))
    assert "38 of 40 calibration samples are of class 1" in report.notes


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_channels_that_never_change_are_named(stage: Stage, layout: str) -> None:
    x = images(40)
    x[..., 1] = 0.5
    first = layout == "nchw"
    _, report = stage(
        model(None, 3, 8, 8) if first else model(), x=x.transpose(0, 3, 1, 2) if first else x
    )
    assert report.constant_channels == {"image": (1,)}
    assert any("1 of 3 channel(s) never change (1)" in note for note in report.notes)


def test_halves_that_differ_make_the_range_unstable(stage: Stage) -> None:
    even = np.random.default_rng(0).uniform(0, 1, (1000, 4)).astype(np.float32)
    _, report = stage(model(None, 4), x=even)
    assert report.half_range_ratio is not None
    assert report.half_range_ratio > 0.98
    even[500:] *= 2
    _, report = stage(model(None, 4), x=even)
    assert report.half_range_ratio == pytest.approx(0.5, abs=0.02)
    assert any("have 50% of their range in common" in note for note in report.notes)


def test_few_samples_are_said_to_be_few(stage: Stage) -> None:
    assert any("are few" in note for note in stage(x=images(31))[1].notes)
    assert not any("are few" in note for note in stage(x=images(32))[1].notes)


def test_noise_does_not_pass_for_samples(stage: Stage) -> None:
    noise = np.random.default_rng(0).normal(size=(200, 8, 8, 3)).astype(np.float32)
    assert any("random noise" in note for note in stage(x=noise)[1].notes)
    assert not any("random noise" in note for note in stage(x=images(200))[1].notes)
