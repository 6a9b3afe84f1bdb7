"""`edgekit recipe`: how a model is made smaller, as data."""

from __future__ import annotations

import click

from edgekit.cli import options, render
from edgekit.errors import ExitCode


@click.group("recipe")
def command() -> None:
    """List the built-in recipes, or show one."""


@command.command("list")
@options.json_option
def list_(json_path: str | None) -> int:
    """List all built-in recipes."""
    from edgekit.config.recipes import built_in_recipes

    recipes = built_in_recipes()
    if not render.show_json(recipes, json_path):
        render.show_table([(recipe.name, recipe.description) for recipe in recipes])
    return ExitCode.PASSED


@command.command("show")
@click.argument("name")
@options.json_option
def show(name: str, json_path: str | None) -> int:
    """Show one recipe: a built-in name, or the path of a recipe file."""
    from edgekit.config.recipes import find_recipe, recipe_text

    if not render.show_json(find_recipe(name), json_path):
        click.echo(recipe_text(name), nl=False)
    return ExitCode.PASSED
