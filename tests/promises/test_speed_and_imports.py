"""What makes edgekit quick to start and small to install: no framework in the parent, a pure wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgekit.cli import _COMMANDS

REPO = Path(__file__).resolve().parent.parent.parent
FRAMEWORKS = {
    "ai_edge_litert", "coremltools", "executorch", "h5py", "joblib", "keras", "litert_torch",
    "onnx", "onnxruntime", "onnxscript", "pandas", "safetensors", "scipy", "skl2onnx", "sklearn",
    "skops", "tensorflow", "tf2onnx", "tf_keras", "tflite_runtime", "torch",
}  # fmt: skip
_RUN = (
    "import sys; from edgekit.cli import run; code = run({}); print(*sys.modules); sys.exit(code)"
)


def modules_after(*arguments: str) -> set[str]:
    """The top-level modules in a fresh process that has run one command line of edgekit."""
    command = [sys.executable, "-c", _RUN.format(list(arguments))]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return {name.partition(".")[0] for name in ended.stdout.splitlines()[-1].split()}


def test_the_probe_sees_what_a_command_imports() -> None:
    assert {"edgekit", "click"} <= modules_after("--help")


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"]], ids=" ".join)
def test_help_imports_no_framework_and_no_numpy(arguments: list[str]) -> None:
    assert not modules_after(*arguments) & (FRAMEWORKS | {"numpy"})


def test_no_command_imports_a_framework_to_show_its_help() -> None:
    for name in _COMMANDS:
        assert not modules_after(name, "--help") & FRAMEWORKS, name


def test_doctor_and_targets_import_no_framework() -> None:
    assert not modules_after("doctor") & FRAMEWORKS
    assert not modules_after("targets", "list") & FRAMEWORKS


@pytest.mark.framework
def test_the_parent_of_a_whole_conversion_imports_no_framework(
    sample_models: Path, tmp_path: Path
) -> None:
    built = sample_models / "digits_cnn" / "built"
    seen = modules_after(
        *("convert", str(built / "digits_cnn.keras"), "--to", "tflite", "--num-runs", "0"),
        *("--eval-data", str(built / "eval.npz"), "-o", str(tmp_path / "m.tflite")),
    )
    assert (tmp_path / "m.tflite").is_file()
    assert "numpy" in seen
    assert not seen & FRAMEWORKS


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_is_pure_python(wheel: zipfile.ZipFile) -> None:
    assert str(wheel.filename).endswith("-py3-none-any.whl")
    assert not [name for name in wheel.namelist() if name.endswith((".so", ".pyd", ".dylib"))]


def test_the_wheel_has_every_module_every_target_and_the_type_marker(
    wheel: zipfile.ZipFile,
) -> None:
    wanted = {str(file.relative_to(REPO)) for file in (REPO / "edgekit").rglob("*.py")}
    wanted |= {f"edgekit/{f.relative_to(REPO)}" for f in (REPO / "targets").rglob("*.toml")}
    assert len([name for name in wanted if name.endswith("target.toml")]) >= 12
    assert wanted | {"edgekit/py.typed"} <= set(wheel.namelist())


def test_the_wheel_has_nothing_but_edgekit(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgekit"}
    names = [name for name in wheel.namelist() if name.startswith("edgekit/")]
    assert {name.rpartition(".")[2] for name in names} == {"py", "typed", "toml"}
    assert not [name for name in names if "test" in name or "sample" in name.split("/")]


def test_an_unpacked_wheel_finds_its_targets(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "edgekit", "targets", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "linux-arm64-litert" in ended.stdout, ended.stderr
