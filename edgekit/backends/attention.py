"""Attention as plain operators instead of torch's fused ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def without_fast_path() -> Iterator[None]:
    """nn.TransformerEncoder as written: its fast path is one opaque operator without gradients."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextmanager
def as_matrix_products() -> Iterator[None]:
    """Every attention as two matrix products and a softmax, which a counter of operations knows."""
    with without_fast_path(), sdpa_kernel(SDPBackend.MATH):
        yield
