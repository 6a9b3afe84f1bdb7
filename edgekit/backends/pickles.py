"""What a pickle would run, found by reading its opcodes: nothing is unpickled here."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator

import torch


def globals_in(content: bytes) -> tuple[str, ...]:
    """`module.name` of everything the pickles in `content` would import, in order of first use."""
    found: dict[str, None] = {}
    stream = io.BytesIO(content)
    while stream.tell() < len(content):
        strings: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    found[str(argument).replace(" ", ".")] = None
                elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                    found[".".join(strings[-2:])] = None
                elif isinstance(argument, str):
                    strings.append(argument)
        except (ValueError, IndexError):  # what follows the pickles is not one
            break
    return tuple(found)


def weights_only(content: bytes, member: str) -> Iterator[str]:
    """Why `content` is more than tensors and plain containers; nothing where it is just that."""
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        yield f"{member} is a pickle of more than tensors ({str(error).splitlines()[0][:160]})"
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        yield f"{member} is not a readable weights file ({str(error)[:160]})"
