"""Write the reference from the code, or with `--check` say what is stale; see scripts/reference."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from edgekit.backend_table import BUILTIN
from edgekit.catalog import Catalog
from edgekit.cli import group
from edgekit.config.targets import built_in_targets
from edgekit.core.artifact import Format
from edgekit.core.backend import Kind
from edgekit.core.cell import SCHEMA, CellReport, Outcome
from edgekit.core.target import Budget
from edgekit.errors import EdgekitError, ExitCode
from edgekit.planner import plan

DOCS = Path(__file__).resolve().parent.parent / "docs"
_TITLE = "# Reference\n\nWritten by `scripts/reference` from the code: edit that, not this.\n"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_EVERYTHING = Catalog(backends=BUILTIN)
_WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}


def main() -> int:
    """Write all pages, or check them; the exit code."""
    if sys.argv[1:] == ["--check"]:
        for path in (old := stale(DOCS)):
            print(f"{path} is stale: run scripts/reference", file=sys.stderr)
        return 1 if old else 0
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
    return 0


def stale(folder: Path) -> list[Path]:
    """The pages in `folder` that are absent or not what the code says now."""
    wanted = {folder / name: text for name, text in pages().items()}
    return [p for p, text in wanted.items() if not p.is_file() or p.read_text("utf-8") != text]


def pages() -> dict[str, str]:
    """File name to content."""
    parts = [_TITLE, *_commands(), _exit_codes(), _routes(), _backends(), _targets(), *_report()]
    return {
        "reference.md": "\n".join(parts),
        "report.schema.json": json.dumps(report_schema(), indent=2) + "\n",
    }


def report_schema() -> dict[str, Any]:
    """The JSON Schema of a report, which names itself in its field `schema`."""
    schema = msgspec.json.schema(CellReport)
    schema["$defs"]["CellReport"]["properties"]["schema"] = {"const": SCHEMA}
    for definition in schema["$defs"].values():
        definition["description"] = _one_line(definition.get("description", ""))
        for field in definition.get("properties", {}).values():
            if field.get("default") in (None, "", [], {}, math.inf):
                field.pop("default", None)  # absent: nothing stands for it
    return {"$schema": _DRAFT, "$id": SCHEMA, "title": "A report of edgekit", **schema}


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    root = click.Context(group, info_name="edgekit", **group.context_settings)
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root)
        if not isinstance(command, click.Group):
            yield _command(command, context)
            continue
        for inner in command.list_commands(context):
            part = command.get_command(context, inner)
            assert part is not None
            yield _command(part, click.Context(part, info_name=inner, parent=context))


def _command(command: click.Command, context: click.Context) -> str:
    pieces = " ".join(command.collect_usage_pieces(context))
    records = [param.get_help_record(context) for param in command.params if _is_option(param)]
    rows = [(_code(left), _one_line(right)) for left, right in filter(None, records)]
    return (
        f"### {context.command_path}\n\n`{context.command_path} {pieces}`\n\n"
        f"{_one_line(command.help or '')}\n\n{_table(('option', 'meaning'), rows)}"
    )


def _is_option(param: click.Parameter) -> bool:
    return isinstance(param, click.Option)


def _exit_codes() -> str:
    outcomes = {
        code: ", ".join(f"`{o.value}`" for o in Outcome if o.exit_code is code) for code in ExitCode
    }
    rows = [(str(code.value), code.meaning, outcomes[code]) for code in ExitCode]
    table = _table(("code", "meaning", "`outcome` in the report"), rows)
    return f"## Exit codes\n\n{table}"


def _routes() -> str:
    """Every pair of formats with a route: the preferred one, and what `--via` can choose."""
    rows = []
    for source in Format:
        for to in Format:
            names = _routes_between(source, to)
            if names and source is not to:
                rows.append((source.value, to.value, _code(names[0]), _codes(names[1:])))
    heads = ("from", "to", "converters", "others, by `--via`")
    return f"## Routes\n\n{_table(heads, rows)}"


def _routes_between(source: Format, to: Format) -> list[str]:
    """Routes as `one + two`, the preferred first."""
    found = []
    for via in (None, *(row.name for row in _EVERYTHING.of_kind(Kind.CONVERTER))):
        try:
            planned = plan(source, to, _EVERYTHING, via=via)
        except EdgekitError:
            continue
        found.append(" + ".join(step.backend for step in planned.steps))
    return list(dict.fromkeys(found))


def _backends() -> str:
    rows = [
        (
            _code(row.name),
            row.kind.value,
            ", ".join(format.value for format in row.reads),
            row.writes.value if row.writes else "",
            row.extra,
            ", ".join(row.platforms) or "any",
        )
        for row in BUILTIN
    ]
    heads = ("backend", "kind", "reads", "writes", "extras", "platforms")
    return f"## Backends\n\nIn order of preference.\n\n{_table(heads, rows)}"


def _targets() -> str:
    rows = [
        (
            _code(target.name),
            target.format.value,
            target.runtime,
            target.device.description,
            _budget(target.budget),
        )
        for target in built_in_targets()
    ]
    heads = ("target", "format", "runtime", "device", "budget")
    return f"## Targets\n\n{_table(heads, rows)}"


def _budget(budget: Budget) -> str:
    limits: dict[str, float] = msgspec.to_builtins(budget)
    return ", ".join(f"{name} {limit:g}" for name, limit in limits.items()) or "none"


def _report() -> Iterator[str]:
    definitions = report_schema()["$defs"]
    yield (
        f"## Report\n\nWhat `--json` writes, and what lies beside an artifact as "
        f"`ARTIFACT.report.json`. Its JSON Schema is [report.schema.json](report.schema.json), "
        f"`{SCHEMA}`. A figure that was not measured is absent, never 0.\n"
    )
    for name, definition in definitions.items():
        if "enum" in definition:
            values = ", ".join(_code(value) for value in definition["enum"])
            yield f"### {name}\n\n{definition['description']} One of {values}.\n"
            continue
        required = definition.get("required", ())
        rows = [
            (_code(field), _type(schema), "" if field in required else _absent(schema))
            for field, schema in definition["properties"].items()
        ]
        table = _table(("field", "type", "when absent"), rows)
        yield f"### {name}\n\n{definition['description']}\n\n{table}"


def _type(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return _code(f'"{schema["const"]}"')
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        kinds = [_type(kind) for kind in schema["anyOf"] if kind.get("type") != "null"]
        return " or ".join(kinds)
    if "prefixItems" in schema:
        return " and ".join(_type(item) + _or_null(item) for item in schema["prefixItems"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" + _or_null(schema["items"])
    if schema.get("type") == "object":
        return f"{_type(schema['additionalProperties'])} by name"
    return _WORDS[schema["type"]]


def _absent(schema: Mapping[str, Any]) -> str:
    return f"it is {json.dumps(schema['default'])}" if "default" in schema else "not known"


def _or_null(schema: Mapping[str, Any]) -> str:
    return " or null" if {"type": "null"} in schema.get("anyOf", ()) else ""


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def _code(text: str) -> str:
    return f"`{text}`"


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(map(_code, texts))


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    sys.exit(main())
