"""Train the scikit-learn sample model: `python -m sample_models.digits_forest.build [FOLDER]`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sample_models.digits import SEED, Split, build_into, folder_from_arguments


def write(folder: Path, split: Split) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Train and save `digits_forest.skops`: a scaler and a forest of 30 trees; input `(N, 64)`."""
    model = make_pipeline(
        StandardScaler(), RandomForestClassifier(30, max_depth=10, random_state=SEED)
    )
    model.fit(flat(split.train_x), split.train_y)
    accuracy = model.score(flat(split.test_x), split.test_y)
    print(f"digits_forest: accuracy {accuracy:.4f} on {len(split.test_y)}")
    skops.io.dump(model, folder / "digits_forest.skops")
    return flat


def flat(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(N, 8, 8)` to `(N, 64)`."""
    return images.reshape(len(images), -1)


if __name__ == "__main__":
    build_into(folder_from_arguments(__file__), write)
