"""A backend that changes numpy for its whole process, as `import emlearn` does."""

from __future__ import annotations

import numpy as np

from edgekit.core.jobs import LoadJob


def load(_: LoadJob) -> dict[str, str]:
    """Every floating point condition raises from here on."""
    np.seterr(all="raise")
    return {name: str(value) for name, value in np.geterr().items()}
