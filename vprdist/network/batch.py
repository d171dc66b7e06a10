"""A batch of what enters the network, and what the network says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B pictures, (B, 3, H, W) uint8 with the channels last in memory, and what the mode adds or None.

    What is added are whole numbers, (B, C, h, w): a quarter of the bytes of a float; `InputStem` divides them.
    `outline`: whether a mask's outline is shown in its place; None: as the trial says. `activations`: of all classes,
    (B, K, h, w), where training is taught by them.
    """

    image: Tensor
    extra: Tensor | None
    outline: bool | None = None
    activations: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        return [each for each in self.parts if isinstance(each, Tensor)]

    @property
    def parts(self) -> tuple[Tensor, Tensor | None, bool | None, Tensor | None]:
        """All of it, as `PlaceNetwork.described` is given it."""
        return self.image, self.extra, self.outline, self.activations

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return self._each(Tensor.pin_memory)

    def part(self, which: slice) -> Batch:
        return self._each(lambda tensor: tensor[which])

    def joined(self, *others: Batch) -> Batch:
        """These pictures, and those of others behind them, of one trial and outline."""
        extras, activations = ([] if each is None else [each] for each in (self.extra, self.activations))
        for other in others:
            extras += [] if other.extra is None else [other.extra]
            activations += [] if other.activations is None else [other.activations]
        image = torch.cat([self.image, *(other.image for other in others)])
        extra, labels = (torch.cat(each) if each else None for each in (extras, activations))
        return replace(self, image=image, extra=extra, activations=labels)

    def _each(self, do: Callable[[Tensor], Tensor]) -> Batch:
        extra, activations = (None if each is None else do(each) for each in (self.extra, self.activations))
        return replace(self, image=do(self.image), extra=extra, activations=activations)


class Described(NamedTuple):
    """What a forward pass says of B pictures.

    Attributes:
        descriptors: (B, D), of length one.
        shown: (B,) the mean of each picture's mask; None: no mask is learnt.
        losses: by name, (B,) what attention or the aggregator adds to the loss of each picture.
    """

    descriptors: Tensor
    shown: Tensor | None
    losses: dict[str, Tensor]

    def part(self, which: slice) -> Described:
        """What it says of some of the pictures."""
        shown, losses = None if self.shown is None else self.shown[which], self.losses.items()
        return Described(self.descriptors[which], shown, {name: each[which] for name, each in losses})
