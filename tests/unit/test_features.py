"""Instruction sets from /proc/cpuinfo, in the words of targets."""

from __future__ import annotations

import platform

import pytest

from edgekit.catalog import host_platform
from edgekit.config.features import features_in, features_of, host_features
from edgekit.config.targets import find_target
from edgekit.core.noun import changed

HASWELL = """processor\t: 0
model name\t: Intel(R) Core(TM) i7-4770 CPU @ 3.40GHz
flags\t\t: fpu vme sse4_1 sse4_2 avx f16c avx2 bmi2
bugs\t\t: cpu_meltdown avx512_vnni
"""
SAPPHIRE_RAPIDS = "flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n"
ALDER_LAKE = "flags\t\t: fpu avx2 avx_vnni\n"
RASPBERRY_PI_4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
GRAVITON_3 = "Features\t: fp asimd atomics fphp asimddp sve i8mm bf16\n"


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "expected"),
    [
        (HASWELL, "x86_64", ("x86_64", "avx2")),
        (SAPPHIRE_RAPIDS, "x86_64", ("x86_64", "avx2", "avx512", "vnni")),
        (ALDER_LAKE, "amd64", ("x86_64", "avx2", "vnni")),
        (RASPBERRY_PI_4, "aarch64", ("arm64",)),
        (GRAVITON_3, "aarch64", ("arm64", "dotprod", "i8mm")),
        ("", "arm64", ("arm64",)),
    ],
)
def test_cpuinfo_says_what_a_cpu_can_do(
    cpuinfo: str, machine: str, expected: tuple[str, ...]
) -> None:
    assert features_in(cpuinfo, machine) == expected


def test_without_a_target_the_features_are_this_machines() -> None:
    assert features_of(None) == host_features()
    assert host_features()[0] in (platform.machine().lower(), "arm64", "x86_64")


def test_a_target_like_this_machine_that_lists_nothing_has_this_machines() -> None:
    target = find_target("linux-x86_64-onnxruntime")
    os, _, arch = host_platform().partition("-")
    here = changed(target, device=changed(target.device, os=os, arch=arch))
    assert features_of(here) == host_features()


def test_what_a_target_lists_is_believed() -> None:
    target = find_target("linux-x86_64-onnxruntime")
    listed = changed(target, device=changed(target.device, features=("avx2",)))
    assert features_of(listed) == ("x86_64", "avx2")


def test_a_target_elsewhere_has_its_architecture_at_least() -> None:
    target = find_target("linux-x86_64-onnxruntime")
    board = changed(target, device=changed(target.device, os="plan9", arch="arm64"))
    assert features_of(board) == ("arm64",)
