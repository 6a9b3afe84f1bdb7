"""Routes: direct before two hops, installed before absent, refusals with a way out."""

from __future__ import annotations

import pytest

from edgekit.backend_table import BUILTIN
from edgekit.catalog import Catalog
from edgekit.core.artifact import Format
from edgekit.core.backend import Kind
from edgekit.errors import ConfigError, UnavailableError, UnsupportedError
from edgekit.planner import plan

ALL = Catalog(backends=BUILTIN)
SOURCES = (Format.KERAS, Format.EXPORTED, Format.STATE_DICT, Format.TORCHSCRIPT, Format.SKOPS)
RESULTS = (Format.TFLITE, Format.ONNX, Format.EXECUTORCH, Format.TORCHSCRIPT)


def steps(source: Format, to: Format, catalog: Catalog = ALL, via: str | None = None) -> list[str]:
    return [step.backend for step in plan(source, to, catalog, via=via).steps]


def without(*names: str) -> Catalog:
    return Catalog(backends=BUILTIN, missing=dict.fromkeys(names, "not installed: it"))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("to", RESULTS)
def test_every_framework_reaches_every_format(source: Format, to: Format) -> None:
    planned = plan(source, to, ALL)
    assert planned.steps[0].reads is source
    assert planned.steps[-1].writes is to


def test_a_direct_converter_comes_before_two_hops() -> None:
    assert steps(Format.KERAS, Format.TFLITE) == ["keras_to_tflite"]
    assert steps(Format.KERAS, Format.EXECUTORCH) == ["keras_to_pt2", "pt2_to_executorch"]


def test_without_tensorflow_keras_goes_through_torch() -> None:
    bare = without("keras", "keras_host", "keras_to_tflite")
    planned = plan(Format.KERAS, Format.TFLITE, bare)
    assert [step.backend for step in planned.steps] == ["keras_to_pt2", "pt2_to_tflite"]
    assert planned.loader == "keras_without_tensorflow"
    assert planned.source_runtime == "keras_host_without_tensorflow"


def test_via_names_the_route() -> None:
    assert steps(Format.KERAS, Format.ONNX, via="pt2_to_onnx") == ["keras_to_pt2", "pt2_to_onnx"]
    with pytest.raises(ConfigError, match="keras_to_onnx"):
        steps(Format.KERAS, Format.ONNX, via="keras_to_onnxx")


def test_what_is_not_installed_is_named_with_the_line_that_installs_it() -> None:
    with pytest.raises(UnavailableError) as error:
        steps(Format.SKOPS, Format.EXECUTORCH, without("pt2_to_executorch"))
    assert error.value.fix == "pip install 'edgekit[executorch]'"


def test_no_route_says_what_there_is() -> None:
    with pytest.raises(UnsupportedError) as error:
        plan(Format.KERAS, Format.COREML, ALL)
    assert "tflite" in error.value.fix
    with pytest.raises(UnsupportedError):
        plan(Format.ONNX, Format.TFLITE, ALL)


def test_names_are_unique_and_every_row_is_whole() -> None:
    names = [row.name for row in BUILTIN]
    assert len(set(names)) == len(names)
    for row in BUILTIN:
        assert row.reads
        assert row.entry.count(":") == 1
        assert (row.writes is not None) == (row.kind in (Kind.CONVERTER, Kind.OPTIMIZER))
        assert row.kind is not Kind.OPTIMIZER or row.precisions or row.equalizes
