"""Train the PyTorch sample model: `python -m sample_models.digits_resnet.build [FOLDER]`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from sample_models.digits import SEED, Split, build_into, folder_from_arguments
from sample_models.digits_resnet.digits_resnet import DigitsResNet

EPOCHS = 12
BATCH = 32


def write(folder: Path, split: Split) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Train; save the weights (`.safetensors`) and the exported program (`.pt2`)."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(mode=True)
    model = train(DigitsResNet(), split)
    with torch.no_grad():
        scores = model(torch.from_numpy(split.test_x[:, None]))
    accuracy = (scores.argmax(1).numpy() == split.test_y).mean()
    print(f"digits_resnet: accuracy {accuracy:.4f} on {len(split.test_y)}")
    save_file(model.state_dict(), folder / "digits_resnet.safetensors")
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "digits_resnet.pt2")
    return lambda images: images[:, None]


def train(model: DigitsResNet, split: Split) -> DigitsResNet:
    """Adam on cross-entropy with a one-cycle learning rate."""
    images, labels = torch.from_numpy(split.train_x[:, None]), torch.from_numpy(split.train_y)
    steps = -(-len(labels) // BATCH)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-2, epochs=EPOCHS, steps_per_epoch=steps
    )
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


if __name__ == "__main__":
    build_into(folder_from_arguments(__file__), write)
