"""What a folder of samples holds: arrays, images or sounds, with or without class folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from edgekit.core.arrays import Array
from edgekit.errors import ConfigError

_NAMED = 3


class Kind(StrEnum):
    """What the files of a folder are."""

    ARRAYS = ".npy"
    IMAGES = "images"
    SOUNDS = ".wav"


_SUFFIXES = {
    ".npy": Kind.ARRAYS,
    ".wav": Kind.SOUNDS,
    **dict.fromkeys(
        (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
        Kind.IMAGES,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The samples of a folder: names relative to it, in sorted order, class by class."""

    folder: Path
    kind: Kind
    files: Sequence[str]
    labels: Array | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def listed(folder: Path) -> Listing:
    """List files and those of subfolders; deeper is not looked. Hidden files do not count.

    Raises ConfigError where there are no samples, or samples of two kinds, or where some lie in
    class folders and some beside them.
    """
    direct, folders = _entries(folder)
    inside = {name: _entries(folder / name)[0] for name in folders}
    every = [*direct, *(f"{name}/{file}" for name in folders for file in inside[name])]
    kinds = {kind for name in every if (kind := _kind(name))}
    if len(kinds) != 1:
        raise ConfigError(
            f"{folder} holds {' and '.join(sorted(kinds)) or f'no samples ({_few(every + folders)})'}",
            fix="give a folder of .npy, of images or of .wav, with or without class folders in it",
        )
    kind = kinds.pop()
    files = tuple(name for name in every if _kind(name))
    other = [name for name in every if not _kind(name)]
    notes = (f"{len(other)} other file(s) were passed over: {_few(other)}",) if other else ()
    if kind is Kind.ARRAYS or not any("/" in name for name in files):
        return Listing(folder=folder, kind=kind, files=files, notes=notes)
    beside = [name for name in files if "/" not in name]
    if beside:
        raise ConfigError(
            f"{folder}: {_few(beside)} lie(s) beside the class folders {_few(folders)}",
            fix="put every file into a class folder, or none",
        )
    counts = [sum(_kind(name) is kind for name in inside[name_]) for name_ in folders]
    return Listing(
        folder=folder,
        kind=kind,
        files=files,
        labels=np.repeat(np.arange(len(folders)), counts),
        classes=tuple(folders),
        notes=(*notes, *_order_note(folders)),
    )


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of files and of folders, sorted; names only, because there may be many."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if entry.is_dir() else files).append(entry.name)
    return sorted(files), sorted(folders)


def _kind(name: str) -> Kind | None:
    return _SUFFIXES.get(os.path.splitext(name)[1].lower())  # noqa: PTH122  # thousands of names


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more or "it is empty"


def _order_note(folders: Sequence[str]) -> list[str]:
    """Class folders called 0, 1, ..., 10 are not in the order of their numbers."""
    if not all(name.isdecimal() for name in folders):
        return []
    if list(folders) == sorted(folders, key=int):
        return []
    note = (
        "class folders are numbered in the order of their names as text, as Keras and torchvision "
        f"do: {', '.join(f'{name} is {label}' for label, name in enumerate(folders))}"
    )
    return [note]
