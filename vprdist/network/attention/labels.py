"""What attention is taught by: the likeliest class of each place, from cached activations."""

from __future__ import annotations

from torch import Tensor

UNKNOWN = -100
"""The label of a place where no class has any activation; torch's cross-entropy ignores it."""


def likeliest(activations_BKhw: Tensor) -> Tensor:
    """(B, h, w) whole numbers: the class of the largest activation, of equal ones the first; `UNKNOWN` of none."""
    most, labels = activations_BKhw.max(dim=1).values, activations_BKhw.argmax(dim=1)
    return labels.masked_fill(most <= 0, UNKNOWN)


def mean_where(values_Bhw: Tensor, counts_Bhw: Tensor) -> Tensor:
    """(B,) means over the places, each by how much it counts; 0 where none does."""
    counts = counts_Bhw.to(values_Bhw.dtype)
    return (values_Bhw * counts).sum(dim=(1, 2)) / counts.sum(dim=(1, 2)).clamp(min=1e-6)
