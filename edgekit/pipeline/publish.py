"""Put a judged artifact where the user asked, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from edgekit.errors import ConfigError

COMPRESS_LIMIT_BYTES = 256 << 20


def publish(made: Path, output: Path, report: str) -> None:
    """Copy `made` to `output` and `report` to `output` + `.report.json`, each by rename."""
    _by_rename(output, lambda aside: shutil.copyfile(made, aside))
    write_text(output.with_name(f"{output.name}.report.json"), report)


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all; what was there before stays until then."""
    _by_rename(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def failed_path(output: Path) -> Path:
    """Where `--keep-failed` puts an artifact that did not pass: `model.failed.tflite`."""
    return output.with_name(f"{output.stem}.failed{output.suffix}")


def compressed_size_bytes(path: Path) -> int | None:
    """What an app store or an update would ship: bytes after zlib level 6; None over 256 MiB."""
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    if sum(file.stat().st_size for file in files) > COMPRESS_LIMIT_BYTES:
        return None
    return sum(len(zlib.compress(file.read_bytes(), 6)) for file in files)


def check_writable(output: Path) -> None:
    """Raise ConfigError before any work where `output` could not be written in the end."""
    if output.is_dir():
        raise ConfigError(f"-o {output} is a folder", fix="name the file to write")
    parent = output.resolve().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConfigError(
            f"-o {output}: the folder {parent} does not exist or cannot be written",
            fix="make it first",
        )


def _by_rename(path: Path, write: Callable[[Path], object]) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.resolve().parent)
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        aside.chmod(0o644)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
