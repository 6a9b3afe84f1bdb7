"""Models a child keeps open from job to job, so that loading and converting open a file once.

A run does not use them: a converter may have changed a model in memory, and then both sides of the
comparison would be wrong alike. It forgets them first and opens the file itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

_KEPT: list[Callable[[], None]] = []


def kept(function: F) -> F:
    """Keep what `function` opened last; its arguments must tell one file's content from another's."""
    cached = lru_cache(maxsize=2)(function)
    _KEPT.append(cached.cache_clear)
    return cached  # type: ignore[return-value]


def forget() -> None:
    """Drop every model that is kept in this child."""
    for clear in _KEPT:
        clear()
