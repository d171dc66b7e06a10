"""The place network: stem, backbone units, GeM, L2 norm."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vprdist.network.backbones import FAMILIES
from vprdist.network.pooling import GeM
from vprdist.network.stem import InputStem, widen
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import MODE_CHANNELS, trained_units


class PlaceNetwork(nn.Module):
    """Images to unit-length descriptors, (B, 3, H, W) uint8 [and (B, C, h, w)] -> (B, D)."""

    def __init__(
        self, stem: InputStem, units: nn.ModuleDict, pool: GeM, trained: tuple[str, ...], dimensions: int
    ) -> None:
        super().__init__()
        self.stem, self.units, self.pool = stem, units, pool
        self.trained, self.dimensions = trained, dimensions
        for name, unit in units.items():
            unit.requires_grad_(name in trained)

    def forward(self, image_B3HW: Tensor, extra_BChw: Tensor | None = None) -> Tensor:
        features = self.stem(image_B3HW, extra_BChw)
        for unit in self.units.values():
            features = unit(features)
        return nn.functional.normalize(self.pool(features), dim=1)


def build_network(trial: TrialSpec, weights: Path | None) -> PlaceNetwork:
    """The network of a trial, ready to train; everything random in it comes from the trial's seed.

    Args:
        trial: resolved.
        weights: the initial weights' file; None starts from random ones.

    Raises:
        WeightsError: the file is not this backbone's.
    """
    spec, mode = trial.network, trial.input.mode
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        family = FAMILIES[spec.backbone]
        units, dimensions = family.build(spec.backbone)
        if weights is not None:
            family.load_weights(units, weights)
        if MODE_CHANNELS[mode] != 3:
            first = next(iter(units.values()))
            assert isinstance(first, nn.Conv2d) and trial.input.conv1_init is not None
            widen(first, MODE_CHANNELS[mode], trial.input.conv1_init)
    trained = trained_units(spec.backbone, spec.unfreeze)
    return PlaceNetwork(InputStem(mode), nn.ModuleDict(units), GeM(spec.gem_p), trained, dimensions)


def set_mode(network: PlaceNetwork, batch_norm: str, training: bool) -> None:
    """Training or evaluation mode; `frozen` keeps BatchNorm in evaluation mode always."""
    network.train(training)
    if batch_norm == "frozen":
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
