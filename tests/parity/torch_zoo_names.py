"""What the tests know of the zoo without importing torch."""

from __future__ import annotations

from pathlib import Path

MARK = "ran"
FACTORIES = str(Path(__file__).parent)


def factory(name: str) -> dict[str, str]:
    """What the user says about weights: where the architecture is built."""
    return {"factory": f"torch_factories:{name}", "factory_path": FACTORIES}
