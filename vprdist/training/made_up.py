"""Made-up pictures of a trial's size, with what its mode adds: to try a network, or to measure it."""

from __future__ import annotations

import torch
from torch import Tensor

from vprdist.spec.trial import TrialSpec


def made_up(
    trial: TrialSpec, num: int, seed: int = 0, size: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """(num, 3, H, W) uint8, and (num, C, H/4, W/4) uint8 where the mode reads a mask or activations.

    Args:
        size: H and W; None: those that the trial's network is built for.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size or trial.picture_size
    images = torch.randint(0, 256, (num, 3, height, width), generator=generator, dtype=torch.uint8)
    extra = None
    if trial.input.needs_cache:
        added = 1 if trial.input.uses_mask else len(trial.input.map_names)
        extra = torch.randint(0, 256, (num, added, height // 4, width // 4), generator=generator, dtype=torch.uint8)
    return images, extra


def taught_by(trial: TrialSpec, num: int, seed: int = 0, size: tuple[int, int] | None = None) -> Tensor | None:
    """(num, K, H/4, W/4) uint8, activations of all classes; None where training is not taught by them."""
    if not trial.taught:
        return None
    shape = (num, len(trial.input.map_names), *(max(1, side // 4) for side in size or trial.picture_size))
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
