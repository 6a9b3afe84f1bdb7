"""Recipes: the built-in ones, the user's own, and what flags change in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.cli.recipe_options import recipe_of
from edgekit.config.recipes import built_in_recipes, find_recipe, recipe_text
from edgekit.core.recipe import Precision, Quantize, names_layer
from edgekit.errors import ConfigError

NOTHING: dict[str, Any] = {
    "precision": None,
    "recipe": None,
    "per_channel": None,
    "symmetric": None,
    "io": None,
    "ranges": None,
    "percentile": None,
    "exclude": (),
}


def test_every_precision_is_a_built_in_recipe() -> None:
    known = {recipe.name: recipe.precision for recipe in built_in_recipes()}
    for precision in Precision:
        assert known[precision.value] is precision


def test_w8a8_is_int8() -> None:
    assert find_recipe("w8a8") == find_recipe("int8")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        find_recipe("dynamik")
    assert error.value.fix == "did you mean dynamic?"


def test_a_recipe_file_may_have_rules_of_layers(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[passes]]\ntype = "quantize"\nprecision = "int8"\n'
        '[[passes.rules]]\nlayers = "head*"\nprecision = "fp16"\n'
    )
    recipe = find_recipe(str(file))
    assert recipe.name == "mine"
    step = recipe.passes[0]
    assert isinstance(step, Quantize)
    assert step.precision_of("head_1") is Precision.FP16
    assert step.precision_of("body") is Precision.INT8


@pytest.mark.parametrize(
    "text",
    [
        '[[passes]]\ntype = "quantize"\nprecision = "int9"\n',
        '[[passes]]\ntype = "quantize"\nprecision = "int8"\nper_chanel = true\n',
        '[[passes]]\ntype = "quantise"\n',
        "[[passes]\n",
    ],
)
def test_a_wrong_recipe_file_is_refused_by_its_field(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"wrong\.toml"):
        find_recipe(str(file))


def test_flags_change_the_named_recipe() -> None:
    recipe = recipe_of({**NOTHING, "precision": "int8", "per_channel": False, "exclude": ("a",)})
    step = recipe.passes[0]
    assert isinstance(step, Quantize)
    assert (step.per_channel, step.exclude) == (False, ("a",))


def test_flags_without_a_pass_to_change_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclude"):
        recipe_of({**NOTHING, "exclude": ("a",)})


def test_two_ways_to_say_it_are_refused() -> None:
    with pytest.raises(ConfigError, match="both"):
        recipe_of({**NOTHING, "precision": "int8", "recipe": "int8"})


def test_what_is_shown_is_what_is_read() -> None:
    assert 'precision = "int8"' in recipe_text("int8")


@pytest.mark.parametrize("glob", ["conv2d_1", "conv2d_*", "model/conv2d_1/Conv2D;x"])
def test_a_glob_names_a_layer_by_the_whole_or_a_part_of_its_name(glob: str) -> None:
    assert names_layer(glob, "model/conv2d_1/Conv2D;x")
    assert not names_layer(glob, "model/dense/MatMul")
