"""The interface of every segmenter."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from vprdist.spec.vocabulary import Grid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Segmenter(Protocol):
    """Pictures in, probabilities of a table's classes out. What wraps a segmenter (windows, flips) is one itself."""

    image_size: tuple[int, int]
    """The (height, width) at which it wants its pictures."""

    description: str
    """Network, weights and inference in words; for people, in no digest."""

    grid: Grid
    """How the points of its answers lie on the picture."""

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of the probabilities for pictures of a size."""
        ...

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Softmax probabilities, (B, C, h, w) float32 on the segmenter's device, classes in the table's order.

        Args:
            image_B3HW: uint8 RGB on any device.
        """
        ...
