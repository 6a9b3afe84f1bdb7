"""8-bit ONNX files on a processor without VNNI, which qemu is where this machine is another."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.catalog import load_catalog
from edgekit.config.features import features_of
from edgekit.config.targets import find_target
from edgekit.core.arrays import Arrays
from edgekit.core.artifact import Artifact, Format
from edgekit.core.backend import Kind
from edgekit.core.jobs import Order, Reply, RunJob
from edgekit.core.noun import read_json, to_json
from edgekit.core.recipe import Precision, Quantize
from edgekit.planner import reader
from edgekit.worker.client import child_environment
from tests.conftest import ConvertModel
from tests.parity.edge_cells import Bench
from tests.parity.onnx_shop import INT8, Shop, sqnr_db
from tests.parity.test_onnx_quantize_trained import cifar, photo_crops

QEMU = shutil.which("qemu-x86_64")
TARGET = "linux-x86_64-avx2-onnxruntime"
FULL_RANGE = "ort_static"

pytestmark = [
    pytest.mark.framework,
    pytest.mark.skipif(QEMU is None, reason="needs qemu-x86_64 (Debian: qemu-user)"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs Python for x86_64"),
]


@pytest.fixture
def shop(bench: Bench) -> Shop:
    return Shop(bench)


def test_full_range_kernels_saturate_without_vnni_and_those_for_the_target_do_not(
    shop: Shop, convert_model: ConvertModel, sample_models: Path
) -> None:
    built = sample_models / "digits_resnet" / "built"
    _, path = convert_model(built / "digits_resnet.pt2", to="onnx")
    source = shop.bench.load(path, Format.ONNX)
    with np.load(built / "eval.npz", allow_pickle=False) as data:
        images = {source.signature.inputs[0].name: data["x"][:200]}
    check(
        shop,
        source,
        {name: array[:100] for name, array in images.items()},
        {name: array[100:] for name, array in images.items()},
    )


@pytest.mark.shared
def test_resnet20_is_right_without_vnni_only_as_its_target_has_it(
    shop: Shop, convert_model: ConvertModel, shared_models: Path
) -> None:
    _, path = convert_model(shared_models / "pytorch" / "resnet20.pt2", to="onnx")
    source = shop.bench.load(path, Format.ONNX)
    images, _, _ = cifar(shared_models, shop, source)
    check(shop, source, {"x": photo_crops(shared_models)["x"][::8]}, images)


def check(shop: Shop, source: Artifact, seen: Arrays, images: Arrays) -> None:
    """The file in full range is wrong on a Haswell and flagged; each of the target's rows is right."""
    settings = Quantize(precision=Precision.INT8)
    wrong = shop.make(source, FULL_RANGE, settings, seen)
    assert loss_db(shop, source, wrong, images) > 3
    assert any("their sums saturate" in note for note in shop.bench.inspect(wrong).notes)
    features = features_of(find_target(TARGET))
    rows = [load_catalog().backend(name) for name in INT8]
    usable = [
        row.name for row in rows if not row.needs_features or {*row.needs_features} & {*features}
    ]
    assert usable
    for row in usable:
        right = shop.make(source, row, settings, seen, features)
        assert abs(loss_db(shop, source, right, images)) < 1
        assert not any("saturate" in note for note in shop.bench.inspect(right).notes)


def loss_db(shop: Shop, source: Artifact, made: Artifact, images: Arrays) -> float:
    """How much nearer to the float model plain kernels are than those of a Haswell."""
    calls = (len(next(iter(images.values()))),)
    wanted = shop.bench.outputs(source, images, calls)
    plain = shop.bench.outputs(made, images, calls, reference=True)
    return sqnr_db(wanted, plain) - sqnr_db(wanted, on_haswell(shop.bench, made, images))


def on_haswell(bench: Bench, made: Artifact, images: Arrays) -> Arrays:
    """What `made` answers on a processor of 2013."""
    folder = Path(bench._new("haswell"))
    np.savez(folder / "samples.npz", **images)  # type: ignore[arg-type]
    job = RunJob(
        artifact=made,
        folder=str(folder),
        samples=str(folder / "samples.npz"),
        calls=(len(next(iter(images.values()))),),
        warmup_runs=0,
        num_runs=0,
        min_time_s=0,
    )
    row = reader(Kind.RUNTIME, made.format, load_catalog())
    (folder / "job.json").write_text(to_json(Order(entry=row.entry, job=job)))
    child = [sys.executable, "-m", "edgekit.worker.child", str(folder)]
    subprocess.run(
        [str(QEMU), "-cpu", "Haswell", *child],
        env=child_environment(row.environment),
        check=True,
        capture_output=True,
        timeout=300,
    )
    reply = read_json(folder / "result.json", Reply)
    with np.load(reply.value["outputs"], allow_pickle=False) as outputs:
        return dict(outputs)
