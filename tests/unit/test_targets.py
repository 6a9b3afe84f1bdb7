"""Target files: read, named, and refused with the place of the mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.config.targets import built_in_targets, find_target
from edgekit.errors import ConfigError

GOOD = 'format = "tflite"\nruntime = "litert"\n[device]\nos = "linux"\narch = "arm64"\n'


def test_the_promised_targets_are_there() -> None:
    names = {target.name for target in built_in_targets()}
    for machine in ("linux-x86_64", "linux-arm64"):
        for runtime in ("litert", "onnxruntime", "executorch", "torchscript"):
            assert f"{machine}-{runtime}" in names
    assert {"android-arm64-litert", "android-arm64-executorch"} <= names


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        find_target("linux-x86-litert")
    assert "linux-x86_64-litert" in error.value.fix


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text(GOOD + "[budget]\nmax_size_bytes = 1000\n")
    target = find_target(str(file))
    assert (target.name, target.budget.max_size_bytes) == ("board", 1000)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "[budget]\nmax_size = 1\n", "max_size"),
        (GOOD.replace("tflite", "tflight"), "tflight"),
        ("format = ", "Invalid value"),
        ('format = "onnx"\n', "missing required field"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "t.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        find_target(str(file))
