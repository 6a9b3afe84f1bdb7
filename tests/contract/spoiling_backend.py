"""A plug-in converter that changes the model it was given, in memory and in what it writes."""

from __future__ import annotations

import torch

from edgekit.backends.converters.pt2_to_torchscript import convert as honest
from edgekit.backends.programs import open_program
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import ConvertJob


def convert(job: ConvertJob) -> Artifact:
    """Double every weight of the program that this child keeps, then convert it."""
    with torch.no_grad():
        for parameter in open_program(job.artifact).state_dict.values():
            if parameter.is_floating_point():
                parameter.mul_(2)
    return honest(job)
