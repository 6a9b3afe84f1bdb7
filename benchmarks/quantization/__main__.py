"""int8 by edgekit and by other tools, side by side: `python -m benchmarks.quantization`.

Every tool quantizes the same models on the same calibration data; one runner runs every file on the
same evaluation data. Writes the figures as JSON and README.md from them. Environments of tools that
need their own are made on first use; that is the only time the network is used.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.quantization.costs import REPO, Cost, cost_of
from benchmarks.quantization.judge import judged, size_of
from benchmarks.quantization.models import Fold, Model, models
from benchmarks.quantization.page import page
from benchmarks.quantization.tools import ADAPTERS, TOOLS, Tool, interpreter, version

SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "executorch": ".pte"}
PAGE = Path(__file__).with_name("README.md")
FIGURES = Path(__file__).with_name("figures.json")
_EDGEKIT = Path(sys.executable).with_name("edgekit")


def main() -> None:
    """Measure all, write the figures and the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=REPO / "build" / "quantization")
    parser.add_argument("--model", action="append", help="only these")
    parser.add_argument("--format", action="append", choices=list(SUFFIXES), help="only these")
    parser.add_argument("--page-only", action="store_true", help="from the figures there are")
    given = parser.parse_args()
    if not given.page_only:
        folder = given.folder.resolve()
        (folder / "data").mkdir(parents=True, exist_ok=True)
        measured(folder, models_=given.model, formats=given.format or list(SUFFIXES))
    PAGE.write_text(page(json.loads(FIGURES.read_text())))


def measured(folder: Path, *, models_: list[str] | None, formats: list[str]) -> None:
    """All figures of one run, written after every model: an end before the last loses nothing."""
    began = datetime.now(UTC)
    pythons, absent = _installed(folder / "venvs")
    rows: list[dict[str, Any]] = []
    for model in models(folder / "data"):
        if models_ and model.name not in models_:
            continue
        place = folder / "made" / model.name
        place.mkdir(parents=True, exist_ok=True)
        rows += _rows(model, place, pythons, absent, formats=formats)
        told = _told(rows, pythons, absent, began=began)
        FIGURES.write_text(json.dumps(told, indent=1) + "\n")


def _told(
    rows: list[dict[str, Any]],
    pythons: dict[str, Path],
    absent: dict[str, str],
    *,
    began: datetime,
) -> dict[str, Any]:
    return {
        "host": {**_host(), "began": began.isoformat(timespec="minutes")},
        "ended": datetime.now(UTC).isoformat(timespec="minutes"),
        "load": os.getloadavg(),
        "tools": {
            tool.name: {
                "version": version(tool, pythons[tool.name]) if tool.name in pythons else None,
                "absent": absent.get(tool.name),
                "setting": tool.setting,
                "own": tool.own,
            }
            for tool in TOOLS
        },
        "rows": _without_paths(rows),
    }


def _without_paths(value: object) -> object:
    """Without where this machine keeps its files."""
    if isinstance(value, dict):
        return {name: _without_paths(item) for name, item in value.items() if name != "path"}
    return [_without_paths(item) for item in value] if isinstance(value, list) else value


def _installed(venvs: Path) -> tuple[dict[str, Path], dict[str, str]]:
    pythons: dict[str, Path] = {}
    absent: dict[str, str] = {}
    for tool in TOOLS:
        try:
            pythons[tool.name] = interpreter(tool, venvs)
        except subprocess.CalledProcessError as error:
            absent[tool.name] = "does not install: " + _last_line(error.output or "")
    return pythons, absent


def _rows(
    model: Model,
    place: Path,
    pythons: dict[str, Path],
    absent: dict[str, str],
    *,
    formats: list[str],
) -> list[dict[str, Any]]:
    """One row a format."""
    floats = _floats(model, place, formats)
    rows = []
    for form in formats:
        if not Path(floats[form]["path"]).exists():
            continue
        sides: dict[str, list[dict[str, Any]]] = {"edgekit": []}
        for fold in model.folds:
            number = model.folds.index(fold)
            sides["edgekit"].append(_by_edgekit(model, fold, form, place / f"edgekit-{number}"))
        for tool in TOOLS:
            if tool.writes != form:
                continue
            if why := absent.get(tool.name) or _cannot(tool, model):
                sides[tool.name] = [{"error": why}]
                continue
            source = str(model.path) if tool.reads == "keras" else floats[tool.reads]["path"]
            sides[tool.name] = [
                _by_tool(tool, pythons[tool.name], source, fold, place / f"{tool.adapter}-{number}")
                for number, fold in enumerate(model.folds)
            ]
        rows.append(_row(model, form, floats, sides, place))
    return rows


def _cannot(tool: Tool, model: Model) -> str | None:
    return "reads Keras only" if tool.reads == "keras" and not model.is_keras else None


def _floats(model: Model, place: Path, formats: list[str]) -> dict[str, dict[str, Any]]:
    """The float files that tools start from, all made by edgekit."""
    made: dict[str, dict[str, Any]] = {}
    for form in dict.fromkeys((*formats, "tflite", "onnx")):
        made[form] = _convert(model, form, place / f"float{SUFFIXES[form]}")
    made["onnx-plain"] = made["onnx"]
    if model.is_keras:
        path = place / "float-by-torch.onnx"
        made["onnx-plain"] = _convert(model, "onnx", path, "--via", "pt2_to_onnx")
    return made


def _convert(model: Model, form: str, path: Path, *more: str) -> dict[str, Any]:
    print(f"{model.name}: {path.name}", flush=True)
    path.unlink(missing_ok=True)
    command = [str(_EDGEKIT), "convert", str(model.path), "--to", form, "-o", str(path), "-q"]
    cost = cost_of([*command, *more])
    return {"path": str(path), "wall_s": cost.wall_s, "error": _last_line(cost.output)}


def _by_edgekit(model: Model, fold: Fold, form: str, stem: Path) -> dict[str, Any]:
    path, report = stem.with_suffix(SUFFIXES[form]), stem.with_suffix(f".{form}.json")
    command = [str(_EDGEKIT), "convert", str(model.path), "--to", form, "--precision", "int8"]
    command += ["--calibration-data", str(fold.calibration), "--eval-data", str(fold.evaluation)]
    side = _made([*command, "-o", str(path), "--json", str(report), "-q"], path)
    if report.exists():
        told = json.loads(report.read_text())
        side |= {name: told.get(name) for name in ("outcome", "rivals", "steps", "gain")}
    return side


def _by_tool(tool: Tool, python: Path, source: str, fold: Fold, stem: Path) -> dict[str, Any]:
    path = stem.with_name(stem.name + "-".join(["", *tool.arguments])).with_suffix(
        SUFFIXES[tool.writes]
    )
    path.with_suffix(".layout").unlink(missing_ok=True)
    command = [str(python), str(ADAPTERS / f"{tool.adapter}.py"), source, str(fold.calibration)]
    return _made([*command, str(path), *tool.arguments], path)


def _made(command: list[str], path: Path) -> dict[str, Any]:
    print(f"  {path.parent.name} {path.name}", flush=True)
    path.unlink(missing_ok=True)
    cost = cost_of(command)
    side: dict[str, Any] = {
        "path": str(path),
        "wall_s": cost.wall_s,
        "peak_bytes": cost.peak_bytes,
        "parts": cost.parts,
    }
    if cost.status or not path.exists():
        side["error"] = f"exit {cost.status}: {_last_line(cost.output)}"
    else:
        side |= size_of(path)
    return side


def _row(
    model: Model,
    form: str,
    floats: dict[str, dict[str, Any]],
    sides: dict[str, list[dict[str, Any]]],
    place: Path,
) -> dict[str, Any]:
    source_cost = _expected(model, place)
    for number, fold in enumerate(model.folds):
        made = [s[number] for s in sides.values() if len(s) > number and "error" not in s[number]]
        for side in made:
            outputs = Path(side["path"] + ".npy")
            job = {"path": side["path"], "data": str(fold.evaluation), "out": str(outputs)}
            ran = _runner(job, place)
            if ran.status:
                side["error"] = f"does not run: {_last_line(ran.output)}"
        running = [side for side in made if "error" not in side]
        paths = [floats[form]["path"], *(side["path"] for side in running)]
        ran = _runner({"paths": paths, "data": str(fold.evaluation)}, place)
        if not ran.status:
            base, *times = json.loads(ran.output.splitlines()[-1])["p50_ms"]
            for side, p50 in zip(running, times, strict=True):
                side |= {"p50_ms": p50, "float_p50_ms": base}
    return {
        "model": model.name,
        "format": form,
        "folds": len(model.folds),
        "float": {**floats[form], "size_bytes": Path(floats[form]["path"]).stat().st_size},
        "source": source_cost,
        **judged(sides, _truths(model, place)),
    }


def _expected(model: Model, place: Path) -> dict[str, Any]:
    """The source's own outputs, once a fold; what running it takes."""
    cost: dict[str, Any] = {}
    for number, fold in enumerate(model.folds):
        out = place / f"expected-{number}.npy"
        ran = _runner(
            {"path": str(model.path), "data": str(fold.evaluation), "out": str(out)}, place
        )
        if ran.status:
            raise SystemExit(f"{model.path} does not run:\n{ran.output}")
        cost = {"wall_s": ran.wall_s, "peak_bytes": ran.peak_bytes}
    return cost


def _truths(model: Model, place: Path) -> list[tuple[Path, Path]]:
    return [
        (fold.evaluation, place / f"expected-{number}.npy")
        for number, fold in enumerate(model.folds)
    ]


def _runner(job: dict[str, Any], place: Path) -> Cost:
    file = place / "job.json"
    file.write_text(json.dumps(job))
    return cost_of([sys.executable, "-m", "benchmarks.quantization.runner", str(file)])


def _host() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {name.strip(): value.strip() for name, value in fields.items()}
    flags = found.get("flags", "").split()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": found.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "flags": [
            name for name in ("avx2", "avx512_vnni", "avx_vnni", "amx_int8") if name in flags
        ],
        "python": platform.python_version(),
    }


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["no word"])[-1][:300].replace(str(REPO), ".")


if __name__ == "__main__":
    main()
