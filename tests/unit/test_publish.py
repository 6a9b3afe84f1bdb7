"""At the output there is a good artifact, or what was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.pipeline.publish import check_writable, failed_path, publish, write_text


def test_artifact_and_report_lie_side_by_side_and_nothing_else(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(b"new")
    place = tmp_path / "a folder"
    place.mkdir()
    publish(made, place / "m.tflite", "{}")
    assert sorted(p.name for p in place.iterdir()) == ["m.tflite", "m.tflite.report.json"]


def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_failed_artifacts_bear_the_word_in_their_name() -> None:
    assert failed_path(Path("a/m.tflite")) == Path("a/m.failed.tflite")


def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    for output in (tmp_path, tmp_path / "none" / "m.onnx"):
        with pytest.raises(ConfigError):
            check_writable(output)
