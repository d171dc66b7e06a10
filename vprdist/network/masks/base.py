"""What a mask that is learnt is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.errors import OwnCodeError

SHOWN, HIDDEN = 4.0, -4.0
"""Logits at the start: of what a mask shows, whose share is 1 after the gauge, and of what it hides, whose is 0.019."""
ROUNDING = 1e-6
"""By so much a mask may leave [0, 1]: a mean of ones may be rounded up."""
REMEDY = "Mend the file, and run the sweep again."


class Mask(nn.Module):
    """Activations of K classes, (B, K, h, w) in [0, 1], to a mask, (B, 1, h, w) in [0, 1].

    A subclass is made with `classes` (K names, in the order of the activations), `chosen` (those that it shows at the
    start) and its own parameters. It need not inherit from here. It always trains, whatever units are frozen.

    It has no state beyond its parameters and draws nothing (no batch norm, no dropout): each step looks at it once more
    for the budget than it describes pictures, and answers must be those of the same activations.

    With all classes chosen the built-in ones show everything at the start, exactly: the network begins as the RGB
    network. Each has the same gauge: what is shown most has 1, since a mask times a constant is the same choice.
    """

    def forward(self, activations_BKhw: Tensor, **more: Any) -> Tensor:
        """(B, 1, h, w) in [0, 1].

        Args:
            activations_BKhw: as cells of the picture, at the cache's size; their sum at a place is about 1.
            more: what it may use and may ignore: `image` (B, 3, H, W), RGB in [0, 1].
        """
        raise NotImplementedError

    def gates(self, activations_BKhw: Tensor) -> Tensor | None:
        """(B, K) how much each class is shown in each picture, the most shown 1; None: it does not weigh classes."""
        return None


def gauged(logits: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """σ of the logits, divided by the largest along `dim`: equal logits give ones, to the bit."""
    shares = torch.sigmoid(logits)
    return shares / shares.amax(dim=dim, keepdim=True)


def weighed(gates_BK: Tensor, activations_BKhw: Tensor) -> Tensor:
    """(B, 1, h, w): Σ_k g_k a_k / Σ_k a_k, the mean gate of a place's classes (methods.md, A8).

    Written as 1 - Σ (1 - g_k) a_k / Σ a_k: gates of one give ones to the bit, and a place of which nothing is known
    (its activations are zero) is shown.
    """
    hidden_B1hw = ((1 - gates_BK)[:, :, None, None] * activations_BKhw).sum(dim=1, keepdim=True)
    total_B1hw = activations_BKhw.sum(dim=1, keepdim=True)
    return 1 - hidden_B1hw / torch.where(total_B1hw > 0, total_B1hw, 1)


def check_shape(found: Any, activations_BKhw: Tensor, name: str) -> Tensor:
    """What a mask answered, of the right shape.

    Args:
        name: of its class, for messages.

    Raises:
        OwnCodeError: it is another shape, or no floats.
    """
    batch, _, height, width = activations_BKhw.shape
    wanted = (batch, 1, height, width)
    if not isinstance(found, Tensor) or tuple(found.shape) != wanted or not found.is_floating_point():
        got = f"{tuple(found.shape)}, {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise OwnCodeError(name, f"a mask must be floats of the shape {wanted}, one a place", got, REMEDY)
    return found


def check_range(mask_B1hw: Tensor, name: str) -> None:
    """A mask is one. Asked when a class is tried, not in every step: it waits for a GPU.

    Raises:
        OwnCodeError: it leaves [0, 1].
    """
    low, high = (float(bound) for bound in mask_B1hw.detach().aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # not a number is refused as well
        fault, found = "a mask must lie in [0, 1]", f"{low:.3g} to {high:.3g}"
        raise OwnCodeError(name, fault, found, f"Take a sigmoid of it. {REMEDY}")
