"""ExecuTorch: what is lowered answers like torch, runs on the delegate, and says what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.artifact import Artifact, Format
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, MalformedError, StepError, UnsupportedError
from tests.parity.edge_cells import Bench, Samples, largest

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(3)
IMAGES = RNG.standard_normal((70, 9, 9, 4)).astype(np.float32)
ROWS = RNG.standard_normal((6, 5)).astype(np.float32)


def lowered(
    bench: Bench, path: Path, samples: Samples, **options: str
) -> tuple[Artifact, Artifact]:
    """The program in torch and in ExecuTorch."""
    source = bench.load(path, Format.EXPORTED)
    return source, bench.convert(source, Format.EXECUTORCH, samples, **options)


def test_channels_last_code_answers_right_and_is_delegated_whole(
    bench: Bench, programs: Path
) -> None:
    source, made = lowered(bench, programs / "channels_last.pt2", {"x": IMAGES[:2]})
    expected = bench.outputs(source, {"x": IMAGES[:6]}, (1, 3, 2))
    result, actual = bench.run(made, {"x": IMAGES[:6]}, (1, 3, 2))
    assert largest(expected, actual) < 1e-5
    assert result.placement is not None
    assert not [name for name in result.placement.left if "convolution" in name]


def test_weights_that_were_folded_are_not_in_the_file_twice(bench: Bench, programs: Path) -> None:
    _, made = lowered(bench, programs / "channels_last.pt2", {"x": IMAGES[:2]})
    found = bench.inspect(made)
    assert found.parameters == 3 * 3 * 4 * 8 + 3 * 3 * 8 + 8 * 5
    assert found.ops["xnnpack::Conv2d"] == 1
    assert found.ops["xnnpack::DepthwiseConv2d"] == 1


def test_a_free_batch_runs_up_to_the_bound_it_states_and_not_beyond(
    bench: Bench, programs: Path
) -> None:
    source, made = lowered(bench, programs / "channels_last.pt2", {"x": IMAGES[:2]})
    assert made.signature.inputs[0].shape == (None, 9, 9, 4)
    assert "axis 0 of x takes at most 64" in made.notes[-1]
    expected = bench.outputs(source, {"x": IMAGES[:65]}, (1, 64))
    assert largest(expected, bench.outputs(made, {"x": IMAGES[:65]}, (1, 64))) < 1e-5
    with pytest.raises(StepError, match=r"'x'.*at most \(64, 9, 9, 4\).*\(65, 9, 9, 4\)"):
        bench.run(made, {"x": IMAGES[:65]}, (65,))


def test_the_bound_of_a_free_axis_is_an_option(bench: Bench, programs: Path) -> None:
    _, made = lowered(bench, programs / "linear.pt2", {"input": ROWS[:2]}, max_size="100")
    assert "at most 100" in made.notes[-1]


def test_a_pte_alone_keeps_its_names(bench: Bench, programs: Path) -> None:
    samples = {"zebra": ROWS[:2], "ant": ROWS[2:4]}
    source, made = lowered(bench, programs / "pair.pt2", samples)
    alone = bench.load(Path(made.path), Format.EXECUTORCH)
    assert alone.signature == made.signature
    assert [spec.name for spec in alone.signature.inputs] == ["zebra", "ant"]
    samples = {"zebra": ROWS, "ant": ROWS[::-1].copy()}
    expected = bench.outputs(source, samples, (1, 5))
    assert largest(expected, bench.outputs(alone, samples, (1, 5))) < 1e-6


def test_integer_and_boolean_inputs_keep_their_dtypes(bench: Bench, programs: Path) -> None:
    ids = RNG.integers(0, 20, (5, 7))
    source, made = lowered(bench, programs / "lookup.pt2", {"ids": ids[:2]})
    assert [s.dtype for s in (*made.signature.inputs, *made.signature.outputs)] == [
        "int64",
        "int64",
        "float32",
    ]
    expected = bench.outputs(source, {"ids": ids}, (1, 4))
    assert largest(expected, bench.outputs(made, {"ids": ids}, (1, 4))) < 1e-6
    masks = {"x": ROWS, "keep": ROWS > 0}
    source, made = lowered(bench, programs / "masked.pt2", masks)
    assert largest(bench.outputs(source, masks, (1, 5)), bench.outputs(made, masks, (1, 5))) == 0


def test_a_model_without_a_batch_runs_row_by_row(bench: Bench, programs: Path) -> None:
    rows = RNG.standard_normal((4, 6)).astype(np.float32)
    source, made = lowered(bench, programs / "counting.pt2", {"x": rows[0]})
    expected, actual = (
        bench.run(artifact, {"x": rows}, (4,), stacked=True)[1] for artifact in (source, made)
    )
    assert largest(expected, actual) < 1e-6


def test_portable_kernels_answer_right_and_delegate_nothing(bench: Bench, programs: Path) -> None:
    images = {"x": IMAGES[:3]}
    source, made = lowered(bench, programs / "channels_last.pt2", images, delegate="portable")
    result, actual = bench.run(made, images, (1, 2))
    assert largest(bench.outputs(source, images, (1, 2)), actual) < 1e-5
    assert result.placement is not None
    assert result.placement.delegated_nodes == 0
    assert result.placement.left["aten::convolution.out"] == 2


def test_an_unknown_delegate_is_refused_with_the_choices(bench: Bench, programs: Path) -> None:
    with pytest.raises(ConfigError, match="'coreml' is unknown") as refused:
        lowered(bench, programs / "linear.pt2", {"input": ROWS[:2]}, delegate="coreml")
    assert refused.value.fix == "choose one of: xnnpack, portable"


def test_a_spectrum_is_right_or_refused_never_wrong(bench: Bench, programs: Path) -> None:
    rows = {"x": RNG.standard_normal((5, 16)).astype(np.float32)}
    try:
        source, made = lowered(bench, programs / "spectrum.pt2", {"x": rows["x"][:2]})
    except UnsupportedError:
        return
    assert largest(bench.outputs(source, rows, (1, 4)), bench.outputs(made, rows, (1, 4))) < 1e-5


def test_a_kernel_the_runtime_lacks_is_refused_by_name(bench: Bench, programs: Path) -> None:
    with pytest.raises(UnsupportedError, match="lgamma"):
        lowered(bench, programs / "rare.pt2", {"x": ROWS})


def test_a_signature_that_does_not_fit_the_program_is_refused(bench: Bench, programs: Path) -> None:
    _, made = lowered(bench, programs / "linear.pt2", {"input": ROWS[:2]})
    path = Path(made.path)
    path.write_bytes(path.read_bytes().replace(b'"float32"', b'"float64"'))
    with pytest.raises(MalformedError, match="does not fit its program"):
        bench.load(path, Format.EXECUTORCH)


FOREIGN = """
import json, sys
import numpy as np
import torch
import subprocess
import sys
from pathlib import Path
from executorch.exir import to_edge
from edgekit.backends.executorch_runtime import Runner
from edgekit.backends.pte_files import read_program

torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2))
x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
seen = x.transpose(0, 3, 1, 2)                       # channels last in memory
program = torch.export.export(module.eval(), (torch.zeros(1, 3, 8, 8),))
path = Path(sys.argv[1])
path.write_bytes(to_edge(program).to_executorch().buffer)
runner = Runner(path, read_program(path), num_threads=1)
with torch.no_grad():
    expected = module(torch.from_numpy(seen.copy())).numpy()
import executorch.extension.pybindings._C as native
runner.bind([seen], ["x"])
unguarded = native._load_program(str(path)).load_method("forward")
wrong = unguarded.call([torch.from_numpy(x).permute(0, 3, 1, 2)])[0].numpy()
print(json.dumps({
    "right": float(np.abs(runner.run([seen], ["x"])[0] - expected).max()),
    "unguarded": float(np.abs(wrong - expected).max()),
    "threads": native._threadpool_get_thread_count(),
}))
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A `.pte` that edgekit did not make, and what its runtime did with a channels-last array."""
    path = tmp_path_factory.mktemp("foreign") / "foreign.pte"
    command = [sys.executable, "-c", FOREIGN, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return path, json.loads(done.stdout.splitlines()[-1])


def test_a_permuted_input_does_not_give_wrong_numbers(
    foreign: tuple[Path, dict[str, float]],
) -> None:
    assert foreign[1]["right"] < 1e-5
    assert foreign[1]["unguarded"] > 0.1  # else ExecuTorch has mended it, and the guard can go


def test_the_runtime_uses_no_more_threads_than_asked(
    foreign: tuple[Path, dict[str, float]],
) -> None:
    assert foreign[1]["threads"] == 1


def test_a_pte_of_others_is_named_by_position(
    bench: Bench, foreign: tuple[Path, dict[str, float]]
) -> None:
    loaded = bench.load(foreign[0], Format.EXECUTORCH)
    assert loaded.signature == Signature(
        inputs=(TensorSpec(name="input_0", dtype="float32", shape=(1, 3, 8, 8)),),
        outputs=(TensorSpec(name="output_0", dtype="float32", shape=(1, 2)),),
    )
    with pytest.raises(StepError, match="takes shape"):
        bench.run(loaded, {"input_0": np.zeros((1, 3, 9, 8), np.float32)}, (1,))


def test_a_zero_state_does_not_fix_the_batch(bench: Bench, programs: Path) -> None:
    rows = RNG.standard_normal((6, 3, 5)).astype(np.float32)
    source, made = lowered(bench, programs / "recurrent.pt2", {"x": rows[:2]})
    assert made.signature.inputs[0].shape == (None, 3, 5)
    assert made.signature.outputs[0].shape == (None, 4)
    expected = bench.outputs(source, {"x": rows}, (1, 5))
    assert largest(expected, bench.outputs(made, {"x": rows}, (1, 5))) < 1e-5


@pytest.mark.shared
def test_resnet20_is_within_1e_4_with_every_convolution_delegated(
    bench: Bench, shared_models: Path
) -> None:
    path = shared_models / "pytorch" / "resnet20.pt2"
    images = RNG.standard_normal((5, 3, 32, 32)).astype(np.float32)
    source, made = lowered(bench, path, {"x": images[:2]})
    result, actual = bench.run(made, {"x": images}, (1, 4))
    assert largest(bench.outputs(source, {"x": images}, (1, 4)), actual) <= 1e-4
    assert result.placement is not None
    assert not [name for name in result.placement.left if "convolution" in name]
    assert result.placement.share > 0.85
    assert bench.inspect(made).ops["xnnpack::Conv2d"] == 19


def test_one_thread_does_not_narrow_the_batch(sample_models: Path, tmp_path: Path) -> None:
    built = sample_models / "digits_cnn" / "built"
    pinned = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
    done = subprocess.run(
        [
            *(sys.executable, "-c", f"{pinned}from edgekit.cli import main; main()", "convert"),
            *(str(built / "digits_cnn.keras"), "--to", "executorch", "--num-runs", "0"),
            *("--eval-data", str(built / "eval.npz"), "-o", str(tmp_path / "m.pte")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "takes at most 64" in done.stderr
