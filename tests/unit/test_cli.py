"""The command line: exit codes, one clear message, no traceback, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.cli import run
from edgekit.errors import ExitCode

TFLITE_HEAD = b"\x1c\0\0\0TFL3" + bytes(24)


def test_help_shows_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(code.meaning.split(",")[0] in shown for code in ExitCode)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["convrt"], "Did you mean 'convert'"),
        (["convert", "m", "--too", "onnx"], "--to"),
        (["convert", "m", "--to", "onx"], "'onx' is not one of"),
        (["convert", "m", "--to", "onnx"], "-o m.onnx"),
        (["convert", "m", "-o", "x"], "neither --to nor --target"),
        (["convert", "none.keras", "--to", "onnx", "-o", "x.onnx"], "no such file"),
        (["convert", "m", "--to", "onnx", "--input", "x:1,2"], "NAME:SHAPE:DTYPE"),
        (["convert", "m", "--to", "onnx", "--input", "x:1,-2:float32"], "neither a size nor ?"),
        (["convert", "m", "--to", "onnx", "--input", "x:1:floaty"], "unknown dtype"),
        (["convert", "m", "--to", "onnx", "--atol", "y:abc"], "not a number"),
        (["convert", "m", "--to", "onnx", "--atol", "nan"], "0 or more"),
        (["convert", "m", "--target", "linux-arm64-litr"], "did you mean linux-arm64-litert"),
        (
            ["convert", "m", "--target", "linux-arm64-litert", "--to", "onnx"],
            "takes tflite, not onnx",
        ),
        (["bench", "none.tflite"], "no such file"),
    ],
)
def test_bad_usage_gets_one_message_and_exit_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run([a.replace("x.onnx", str(tmp_path / "x.onnx")) for a in arguments]) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == []


def test_no_route_is_exit_3_with_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(TFLITE_HEAD)
    code = run(
        ["convert", str(model), "--to", "onnx", "-o", str(tmp_path / "m.onnx"), "--json", "-"]
    )
    report = json.loads(capsys.readouterr().out)
    assert code == 3
    assert (report["outcome"], report["stage"]) == ("unsupported", "plan")
    assert report["reason"]["fix"]


def test_a_dry_run_prints_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.h5"
    model.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(24))
    assert run(["convert", str(model), "--to", "tflite", "--dry-run"]) == 0
    assert "keras_to_tflite" in capsys.readouterr().out


def test_targets_and_doctor_speak_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "list", "--json", "-"]) == 0
    assert any(t["name"] == "linux-arm64-litert" for t in json.loads(capsys.readouterr().out))
    assert run(["doctor", "--json", "-"]) == 0
    assert {"extras", "backends"} <= json.loads(capsys.readouterr().out).keys()
