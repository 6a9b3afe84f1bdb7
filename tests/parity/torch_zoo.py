"""Saves the models of `torch_factories`, and hostile files: `python torch_zoo.py FOLDER`."""

# ruff: noqa: ANN401
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_factories as factories
from safetensors.torch import save_file
from torch.export import Dim, ExportedProgram
from torch_zoo_names import MARK


class Payload:
    """Leaves a mark in the folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (f"({_touch(self.mark)}, ((), {{}}))[1]",)  # an example input that fits


def _touch(mark: Path) -> str:
    return f"__import__('pathlib').Path({str(mark)!r}).touch()"


def main(folder: Path) -> None:
    """Write every file of the zoo."""
    torch.manual_seed(5)
    weights(folder)
    programs(folder)
    scripts(folder)
    hostile_pickles(folder)
    hostile_programs(folder)


def settled(module: Any) -> Any:
    """Batch norms with statistics that matter."""
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(part.running_mean)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    return module.eval()


def weights(folder: Path) -> None:
    for name in ("cnn", "Recurrent", "Transformer", "TwoByTwo", "FullyConvolutional"):
        state = settled(getattr(factories, name)()).state_dict()
        torch.save(state, folder / f"{name}.pt")
    state = settled(factories.mlp()).state_dict()
    save_file(state, folder / "mlp.safetensors")
    compiled = {f"module._orig_mod.{key}": value for key, value in state.items()}
    torch.save([{"state_dict": compiled, "epoch": 3}], folder / "wrapped.pth")
    score = {"best": np.float64(0.9), "top": np.float32(1), "at": np.int64(7)}
    torch.save({"model": state, **score}, folder / "scored.pth")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({**state, "9.weight": torch.ones(1)}, folder / "unknown_key.pt")
    torch.save({k: v for k, v in state.items() if k != "2.bias"}, folder / "missing_key.pt")
    torch.save(settled(factories.channels_last_cnn()).state_dict(), folder / "channels_last.pt")
    torch.save({}, folder / "empty.pt")


def exported(module: Any, *args: Any, axes: Any = None, **kwargs: Any) -> ExportedProgram:
    return torch.export.export(module, args, kwargs, dynamic_shapes=axes)


def programs(folder: Path) -> None:
    x, y, z = torch.randn(3, 2, 6).unbind()  # torch.export takes one tensor given twice for one
    axes = {"right": {0: Dim("n")}, "left": {0: Dim("n")}}
    pair = exported(factories.TwoByTwo().eval(), x, y, axes=axes)
    torch.export.save(pair, folder / "pair.pt2")
    nested = exported(factories.Nested().eval(), x, {"bias": y}, 4, shift=z)
    torch.export.save(nested, folder / "nested.pt2")
    torch.export.save(exported(factories.Unnormalised(), x), folder / "training.pt2")


def scripts(folder: Path) -> None:
    module = settled(factories.cnn())
    torch.jit.save(torch.jit.trace(module, torch.randn(2, 3, 16, 16)), folder / "traced.pt")
    torch.jit.save(torch.jit.script(factories.Minus()), folder / "minus.pt")
    torch.jit.save(torch.jit.script(factories.ReadsFile()), folder / "reads_file.pt")


def hostile_pickles(folder: Path) -> None:
    payload = {"weight": torch.ones(2), "other": Payload(folder / MARK)}
    torch.save(payload, folder / "evil.pt")
    torch.save(payload, folder / "evil_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(settled(factories.cnn()), folder / "whole_module.pt")


def hostile_programs(folder: Path) -> None:
    program = exported(factories.mlp().eval(), torch.randn(2, 12), axes=({0: Dim("n")},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    good = members(buffer.getvalue())
    touch = _touch(folder / MARK)
    pickled = io.BytesIO()
    torch.save(Payload(folder / MARK), pickled)

    def of_model(change: Callable[[Any], None]) -> dict[str, bytes]:
        return edited(good, "models/model.json", change)

    def use_pickle(document: Any) -> None:
        next(iter(document["config"].values()))["use_pickle"] = True

    def pickled_constant(document: Any) -> None:
        path = "opaque_obj_tensor_0"
        document["config"]["c"] = {"path_name": path, "is_param": False, "use_pickle": False}

    def expression(document: Any) -> None:
        sizes = document["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = f"{touch} or 7"

    def argument(document: Any) -> None:
        called = document["graph_module"]["module_call_graph"][0]["signature"]
        called["forward_arg_names"] = [f"input={touch}"]

    def target(document: Any) -> None:
        document["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"

    evil = {
        "sample_inputs": good | {"data/sample_inputs/model.pt": pickled.getvalue()},
        "use_pickle": edited(good, "data/weights/model_weights_config.json", use_pickle)
        | {"data/weights/weight_0": pickled.getvalue()},
        "expression": of_model(expression),
        "guard": of_model(lambda document: document.update(guards_code=[f"{touch} is None"])),
        "argument": of_model(argument),
        "target": of_model(target),
        "library": good | {"data/aotinductor/model/a.so": b"\x7fELF"},
        "constant": edited(good, "data/constants/model_constants_config.json", pickled_constant)
        | {"data/constants/opaque_obj_tensor_0": pickled.getvalue()},
        "second_model": good | {"models/other.json": good["models/model.json"]},
        "other_case": good | {"Models/model.json": good["models/model.json"]},
        "traversal": good | {"../../outside": b"x"},
        "no_model": {name: data for name, data in good.items() if "models/" not in name},
        "good": good,
    }
    for name, content in evil.items():
        with zipfile.ZipFile(folder / f"evil_{name}.pt2", "w") as archive:
            for member, data in content.items():
                archive.writestr(f"archive/{member}", data)


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def edited(good: dict[str, bytes], member: str, change: Callable[[Any], None]) -> dict[str, bytes]:
    document = json.loads(good[member])
    change(document)
    return good | {member: json.dumps(document).encode()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
