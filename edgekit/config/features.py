"""Instruction sets of a CPU, by the words that targets use."""

from __future__ import annotations

import platform
from pathlib import Path

from edgekit.config.targets import runs_here
from edgekit.core.target import Target

# Linux: arch/x86/include/asm/cpufeatures.h and arch/arm64/kernel/cpuinfo.c have the kernel's words.
_FLAGS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "dotprod": ("asimddp",),
    "i8mm": ("i8mm",),
}
_ARM64 = ("arm64", "aarch64")


def features_of(target: Target | None) -> tuple[str, ...]:
    """The instruction sets of a target's CPU, and its architecture.

    Those of this machine where there is no target, or where it is of this machine's kind and lists none.
    """
    if target is None or (runs_here(target) and not target.device.features):
        return host_features()
    return tuple(dict.fromkeys((target.device.arch, *target.device.features)))


def host_features() -> tuple[str, ...]:
    """The instruction sets of this machine's CPU, and its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    return features_in(text, platform.machine().lower())


def features_in(cpuinfo: str, machine: str) -> tuple[str, ...]:
    """What a text of `/proc/cpuinfo` says of a machine of the architecture `machine`."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    words = {
        word
        for key, _, value in lines
        if key.strip() in ("flags", "Features")
        for word in value.split()
    }
    arch = "arm64" if machine in _ARM64 else {"amd64": "x86_64"}.get(machine, machine)
    return (arch, *(name for name, flags in _FLAGS.items() if words & set(flags)))
