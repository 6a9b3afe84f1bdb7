"""README.md of the comparison, from its figures alone."""

from __future__ import annotations

from typing import Any

# Figure: its title, whether more is better, and within what of the best edgekit is level.
_FIGURES = {
    "correct": ("correct", True, "1 image"),
    "agreeing": ("agree with the source", True, "1 image"),
    "sqnr_db": ("SQNR, dB", True, "1 dB"),
    "size_bytes": ("bytes", False, "5 %"),
    "time_ratio": ("time / float", False, "10 %"),
    "wall_s": ("wall s", False, "10 %"),
    "peak_bytes": ("peak memory, MB", False, "10 %"),
}


def page(figures: dict[str, Any]) -> str:
    """Markdown: how it was measured, then a table a model and format."""
    host, rows = figures["host"], figures["rows"]
    lines = ["# int8 side by side", "", "Written by `python -m benchmarks.quantization`.", ""]
    lines += [
        (
            f"{host['system']}, {host['cpu']}, {host['cores']} cores, {', '.join(host['flags'])}; "
            f"{host['began']} to {figures['ended']}; load average at the end "
            f"{figures['load'][0]:.1f}: with more than 1 the wall times are those of a busy machine."
        ),
        "",
        (
            "With VNNI, onnxruntime's default (uint8 activations, int8 weights) adds up in 32 bits. Without, "
            "it saturates: SQNR, agreement and accuracy of ONNX files are valid for CPUs like this one only."
        ),
        "",
        (
            "Every tool in its default settings, from a float file that edgekit made (not in its time; in "
            "edgekit's, which starts from the source, it is). edgekit also runs and times source and "
            "artifact; the others prove nothing. Never judged on a sample it was calibrated on."
        ),
        "",
        "| tool | version | setting |",
        "|---|---|---|",
    ]
    for name, tool in figures["tools"].items():
        lines.append(f"| {name} | {tool['version'] or tool['absent']} | {tool['setting']} |")
    for row in rows:
        lines += ["", *_table(row)]
    lines += [
        "",
        f"Measured in this run: {len(rows)} rows; others are left out where it was ended early or told to.",
    ]
    return "\n".join(lines) + "\n"


def _table(row: dict[str, Any]) -> list[str]:
    sides = row["sides"]
    ran = {name: side for name, side in sides.items() if "error" not in side}
    samples, float_s = row["samples"], row["float"]["wall_s"]
    lines = [
        f"## {row['model']} to {row['format']}",
        "",
        (
            f"Source: {row['source_correct']}/{samples} correct; float file "
            f"{row['float']['size_bytes']:,} bytes, made in {float_s:.1f} s; running the source alone takes "
            f"{row['source']['peak_bytes'] / 1e6:.0f} MB."
        ),
        "",
        f"| | {' | '.join(ran)} | edgekit is |",
        "|---" * (len(ran) + 2) + "|",
    ]
    for key, (title, more, within) in _FIGURES.items():
        cells = [_shown(key, side[key]) for side in ran.values()]
        lines.append(f"| {title} | {' | '.join(cells)} | {_standing(key, ran, more, within)} |")
    lines += [f"\n{name}: {side['error']}." for name, side in sides.items() if "error" in side]
    return lines + _why(ran)


def _standing(key: str, ran: dict[str, Any], more: bool, within: str) -> str:  # noqa: FBT001
    others = [side[key] for name, side in ran.items() if name != "edgekit"]
    if "edgekit" not in ran or not others:
        return "no rival" if not others else "does not run"
    ours, best = ran["edgekit"][key], (max if more else min)(others)
    amount = float(within.split()[0])
    worse = (best - ours) if more else (ours / best - 1) * 100
    if worse <= amount:
        return "not worse"
    if key in ("wall_s", "peak_bytes"):
        return f"**worse**: {ours / best:.1f} times"
    return f"**worse** by {worse:.1f}" + ("" if more else " %")


def _why(ran: dict[str, Any]) -> list[str]:
    """Where edgekit's time, memory and bytes go, from its own report and from the files."""
    if "edgekit" not in ran:
        return []
    made = ran["edgekit"]["made"][0]
    spent: dict[str, float] = {}
    for step in made.get("steps") or []:
        kind = step["name"].split()[0]
        spent[kind] = spent.get(kind, 0) + step["seconds"]
    proof = sum(spent.get(kind, 0) for kind in ("run", "validate"))
    source = sum(spent.get(kind, 0) for kind in ("load", "convert"))
    memory = " + ".join(f"{part / 1e6:.0f}" for part in made["parts"])
    lines = [
        "",
        (
            f"Why it takes longer and more memory: of {made['wall_s']:.1f} s, {source:.1f} s read and "
            f"convert the model, {proof:.1f} s run and time both, and {spent.get('quantize', 0):.1f} s "
            f"quantize (all rivals). At its peak its processes hold {memory} MB: the first runs the "
            "source in its own framework, which the proof needs."
        ),
    ]
    if len(made.get("rivals") or []) > 1:
        taken = next(rival for rival in made["rivals"] if rival.get("taken"))
        lines.append(
            f"Of {len(made['rivals'])} rivals it took `{taken['backends'][-1]}`, by its SQNR on calibration "
            "samples and not for its time."
        )
    lines.append("")
    for name, side in ran.items():
        if text := side["made"][0].get("text_bytes"):
            lines.append(f"- {name}: {text:,} of its bytes are text: names of tensors.")
        if held := side["made"][0].get("contents"):
            lines.append(
                f"- {name}: weights {held['weights']:,}, scales {held['scales']:,}, floats "
                f"{held['floats']:,}, graph {held['graph']:,} bytes in {held['nodes']} nodes."
            )
    return lines


def _shown(key: str, value: float) -> str:
    if key == "peak_bytes":
        return f"{value / 1e6:.0f}"
    return f"{value:,.0f}" if key in ("correct", "agreeing", "size_bytes") else f"{value:.2f}"
