"""A mask that is learnt, in a place network: from what the reader gives to what the network is masked with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.areas import cells_of
from vprdist.network.masks.base import check_shape
from vprdist.semantics.masks import FULL
from vprdist.spec.doors import MaskTraining
from vprdist.spec.vocabulary import Grid


class LearntMask(nn.Module):
    """Pictures and activations, uint8, to masks as cells of the pictures, (B, 1, h, w) float32 in [0, 1].

    Args:
        made: the mask itself; see `masks.base.Mask`.
        name: of its class, for messages.
        training: its budget, and the factor of its learning rate.
        grid: how the activations lie on the pictures.
    """

    def __init__(self, made: nn.Module, name: str, training: MaskTraining, grid: Grid) -> None:
        super().__init__()
        self.made, self.name, self.training_spec, self.grid = made, name, training, grid

    def forward(self, image_B3HW: Tensor, extra_BKhw: Tensor) -> Tensor:
        """(B, 1, h, w).

        Args:
            image_B3HW: uint8 RGB.
            extra_BKhw: uint8 activations of every class.

        Raises:
            OwnCodeError: the mask is of another shape.
        """
        with torch.autocast(image_B3HW.device.type, enabled=False):
            activations = self.activations(extra_BKhw)
            return check_shape(self.made(activations, image=image_B3HW.float() / 255), activations, self.name)

    def activations(self, extra_BKhw: Tensor) -> Tensor:
        """Activations in [0, 1], as cells of the picture."""
        return cells_of(extra_BKhw, FULL, self.grid)

    def gates(self, extra_BKhw: Tensor) -> Tensor | None:
        """(B, K) how much each class is shown in each picture; None: the mask does not weigh classes."""
        gates: Any = getattr(self.made, "gates", None)
        return None if gates is None else gates(self.activations(extra_BKhw))
