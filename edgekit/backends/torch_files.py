"""Opens PyTorch files: weights with the user's factory, TorchScript, whole pickled modules.

Weights are read without code. The factory is the user's own code, named on the command line. A
pickled module runs whatever its pickle says, so it is opened only where the user trusts the file.
TorchScript is a program for torch's own interpreter, which has no way out but a few file operators.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from edgekit.backends.kept import kept
from edgekit.backends.pickles import code_allowed, first_line, globals_in, read_weights_only
from edgekit.backends.programs import flat_module, flattened
from edgekit.backends.torch_calls import call_by_name, forward_parameters
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.errors import ConfigError, MalformedError, UntrustedError

NAMES_FILE = "edgekit.json"
LAYERS_FILE = "edgekit_layers.json"
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_FILE_OPERATORS = re.compile(rb"\b(?:torch|ops\.aten)\.(from_file|save|load)\(")
_FACTORY_FIX = "give --factory MODULE:FUNCTION, and --factory-path DIR where MODULE lies"


def open_flat(artifact: Artifact) -> Any:
    """The model in any torch file: flat tensors as in `signature.inputs`, a tuple of outputs."""
    if artifact.format is Format.EXPORTED:
        return flat_module(artifact)
    if artifact.format is Format.TORCHSCRIPT or artifact.source is None:
        module = open_torchscript(artifact.path, artifact.sha256)
    else:
        module = open_module(artifact.source)
    inputs = artifact.signature.inputs
    call = call_by_name(forward_parameters(module), inputs)
    return flattened(module, [spec.name for spec in inputs], call)


@kept
def open_module(source: ModelSource) -> Any:
    """The module of a state dict or of a trusted pickle, set to inference."""
    found = _read(_content(source.path, source.sha256), source)
    if isinstance(found, torch.nn.Module):
        return found.eval()
    module = _made(source)
    _fill(module, _state(found), Path(source.path).name)
    return module.eval()


@kept
def open_torchscript(path: str, sha256: str) -> Any:
    """A TorchScript module; raises UntrustedError where its code reads or writes files."""
    content = _content(path, sha256)
    name = Path(path).name
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                found = member.endswith(".py") and _FILE_OPERATORS.search(archive.read(member))
                if found:
                    raise UntrustedError(
                        f"{name} uses {found[0].decode()}...) in {member}: a file operation",
                        fix="export a model that touches no files",
                    )
        return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
    except (RuntimeError, zipfile.BadZipFile) as error:
        raise MalformedError(
            f"{name} cannot be read as TorchScript: {first_line(error)}"
        ) from error


def written_in_torchscript(path: str, name: str) -> bytes | None:
    """What edgekit wrote into a TorchScript file as `name`; None where there is none."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.partition("/")[2] == f"extra/{name}":
                return archive.read(member)
    return None


def _content(path: str, sha256: str) -> bytes:
    content = Path(path).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise MalformedError(f"{Path(path).name} has changed since it was first read")
    return content


def _read(content: bytes, source: ModelSource) -> Any:
    """What is in the file: weights without running code, anything else only where it is trusted."""
    name = Path(source.path).name
    if content[8:9] == b"{":
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(content)
        except SafetensorError as error:
            raise MalformedError(f"{name} is not a readable safetensors file: {error}") from error
    try:
        return read_weights_only(content)
    except pickle.UnpicklingError as error:
        if source.trusted:
            return _unpickled(content, source)
        raise _untrusted(content, source) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise MalformedError(
            f"{name} is not a readable weights file: {first_line(error)}"
        ) from error


def _unpickled(content: bytes, source: ModelSource) -> Any:
    try:
        with code_allowed(), _importable(source.factory_path):
            return torch.load(io.BytesIO(content), weights_only=False, map_location="cpu")
    except (AttributeError, ImportError) as error:
        raise ConfigError(
            f"{Path(source.path).name} needs the classes it was saved with: {error}",
            fix="give --factory-path DIR, the folder of the module that defines them",
        ) from error


def _untrusted(content: bytes, source: ModelSource) -> UntrustedError:
    names = ", ".join(globals_in(content)[:8]) or "unknown code"
    return UntrustedError(
        f"{Path(source.path).name} is a pickle that would run: {names}",
        fix=f"save a state_dict or a .pt2; if you know who made it: --trust sha256:{source.sha256}",
    )


def _made(source: ModelSource) -> Any:
    """The architecture, built by the user's factory."""
    name = Path(source.path).name
    if not source.factory:
        raise ConfigError(f"{name} holds weights without their architecture", fix=_FACTORY_FIX)
    module_name, _, function = source.factory.partition(":")
    if not function:
        raise ConfigError(f"the factory {source.factory!r} has no function", fix=_FACTORY_FIX)
    with _importable(source.factory_path):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ConfigError(f"the factory's {error}", fix=_FACTORY_FIX) from error
        make = getattr(module, function, None)
        if not callable(make):
            raise ConfigError(f"{module_name} has no function {function!r}", fix=_FACTORY_FIX)
        made = make()
    if not isinstance(made, torch.nn.Module):
        raise ConfigError(
            f"the factory {source.factory} gave a {type(made).__name__}, expected a torch.nn.Module"
        )
    return made


@contextlib.contextmanager
def _importable(folder: str | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    root = str(Path(folder).resolve())
    before = set(sys.modules)
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(root + os.sep):
                del sys.modules[name]


def _state(found: Any) -> dict[str, Any]:
    """The table of tensors inside what a checkpoint wraps around it."""
    if isinstance(found, list | tuple) and len(found) == 1:
        return _state(found[0])
    if not isinstance(found, Mapping):
        raise MalformedError(f"expected a table of weights, found a {type(found).__name__}")
    for key in _WRAPPERS:
        if isinstance(found.get(key), Mapping | list | tuple):
            return _state(found[key])
    others = [str(key) for key, value in found.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise MalformedError(f"not a state dict: {', '.join(others[:5])} are no tensors")
    return dict(found)


def _fill(module: Any, state: dict[str, Any], name: str) -> None:
    """Strictly: every weight has its place, every place its weight."""
    for prefix in _PREFIXES * 2:  # DataParallel and torch.compile, one around the other
        if state.keys().isdisjoint(module.state_dict()):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise ConfigError(
            f"{name} does not fit the factory's model: {'; '.join(lines)[:600]}",
            fix="build the architecture that the weights were trained with",
        ) from error
    # Files older than torch 0.4.1 have no such counters, and inference does not read them.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        said = [_listed("missing from the file", missing), _listed("unknown to it", unexpected)]
        raise ConfigError(
            f"{name} does not fit the factory's model: {'; '.join(filter(None, said))}",
            fix="build the architecture that the weights were trained with",
        )


def _listed(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return f"{what}: {', '.join(keys[:5])}{more}" if keys else ""
