"""Where and how an artifact runs, and what it may cost."""

from __future__ import annotations

from edgekit.core.artifact import Format
from edgekit.core.noun import Noun
from edgekit.core.recipe import Preprocess


class Budget(Noun):
    """Limits; units are in the names. `None` is no limit."""

    max_size_bytes: int | None = None
    max_latency_p90_ms: float | None = None
    max_peak_rss_bytes: int | None = None
    min_delegated_share: float | None = None


class DeviceProfile(Noun):
    """The hardware and system of a target; `features` are instruction sets such as `vnni`."""

    os: str
    arch: str
    description: str = ""
    features: tuple[str, ...] = ()


class Target(Noun):
    """A named place to run: device, format, the runtime that is linked there, and budget.

    `options` are the converter's settings for this target, such as ExecuTorch's delegate, and
    `preprocess` is how images and sounds become arrays there.
    """

    name: str
    device: DeviceProfile
    format: Format
    runtime: str
    budget: Budget = Budget()
    options: dict[str, str] = {}
    preprocess: Preprocess | None = None
