"""Every command in README and the how-to pages does what the page says, output and exit code.

In a ```console block a line after `$ ` is a command, ` # exit N` at its end the exit code where that
is not 0; all other lines are output that must appear, in order, `...` standing for anything. A block
whose first line is `# NAME.SUFFIX` is a file of that name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

REPO = Path(__file__).resolve().parent.parent.parent
PAGES = [REPO / "README.md", *sorted((REPO / "docs" / "how-to").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w-]+\.\w+)\n")
_EXIT = re.compile(r"\s+# exit (\d+)$")
_FIGURE = re.compile(r"\d+(\.\d+)?(e-?\d+)?")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page, the exit code it names, and the output it shows."""

    text: str
    exit_code: int
    shown: list[str]


@pytest.fixture(scope="module")
def checkout(sample_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the checkout a reader is in: the sample models, built."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(sample_models, folder / "sample_models")
    return folder


@pytest.mark.framework
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_does_what_it_says(page: Path, checkout: Path) -> None:
    text = page.read_text()
    for name, content in files_in(text).items():
        (checkout / name).write_text(content)
    for command in commands_in(text):
        ended = run(command.text, checkout)
        assert ended.returncode == command.exit_code, f"{command.text}\n{ended.stdout}"
        assert_shows(ended.stdout, command)
    fit_the_schema(checkout)


def files_in(text: str) -> dict[str, str]:
    """The files that a page tells its reader to write."""
    blocks = [body for language, body in _BLOCK.findall(text) if language != "console"]
    return {match[1]: body for body in blocks if (match := _FILE.match(body))}


def commands_in(text: str) -> list[Command]:
    """The commands of a page, in order; a command goes on after a backslash."""
    found: list[Command] = []
    for language, body in _BLOCK.findall(text):
        lines = body.replace("\\\n", "").splitlines() if language == "console" else []
        for line in lines:
            if line.startswith("$ "):
                code = _EXIT.search(line)
                bare = _EXIT.sub("", line.removeprefix("$ "))
                found.append(Command(bare, int(code[1]) if code else 0, []))
            else:
                found[-1].shown.append(line)
    return found


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run as a reader would, with this environment's edgekit and python first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_shows(output: str, command: Command) -> None:
    """Every shown line is there, in order; figures may differ, as they do from machine to machine."""
    lines = iter(output.splitlines())
    for shown in command.shown:
        pattern = re.compile(_pattern(shown))
        assert any(pattern.fullmatch(_plain(line)) for line in lines), f"{shown!r}\n{output}"


def _pattern(shown: str) -> str:
    return r"(.*)".join(map(re.escape, _plain(shown).split("...")))


def _plain(line: str) -> str:
    """The line with single spaces and every figure as 0."""
    return _FIGURE.sub("0", re.sub(r"\s+", " ", line.replace(",", "")).strip())


def fit_the_schema(folder: Path) -> None:
    """All reports written so far are what docs/report.schema.json says."""
    schema = json.loads((REPO / "docs" / "report.schema.json").read_text())
    validator = Draft202012Validator(schema)
    for path in folder.glob("*.report.json"):
        validator.validate(json.loads(path.read_text()))
