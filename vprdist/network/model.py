"""The place network: stem, backbone units, GeM, L2 norm."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vprdist.network.backbones import FAMILIES
from vprdist.network.batch_norm import BATCH_NORM
from vprdist.network.checkpoints import read_checkpoint
from vprdist.network.pooling import GeM
from vprdist.network.stem import InputStem, widen
from vprdist.semantics.masks import FULL, full_level
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import MODE_CHANNELS, BatchNormMode, Precision, trained_units


class PlaceNetwork(nn.Module):
    """Images to unit-length descriptors, (B, 3, H, W) uint8 [and (B, C, h, w)] -> (B, D) float32.

    Args:
        trained: the units that are trained. The frozen ones before the first of them run without autograd.
        precision: `bf16` computes the units in bfloat16 where torch's autocast does; pooling stays in float32.
    """

    def __init__(
        self, stem: InputStem, units: nn.ModuleDict, pool: GeM, trained: tuple[str, ...], dimensions: int,
        precision: Precision = "float32",
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem, self.units, self.pool = stem, units, pool
        self.trained, self.dimensions, self.precision = trained, dimensions, precision
        for name, unit in units.items():
            unit.requires_grad_(name in trained)
        names = list(units)
        first = min((names.index(name) for name in trained), default=len(names))
        self._front, self._rest = names[:first], names[first:]
        # Convolutions are fastest so, on GPUs and on the CPU; parameters keep their shapes.
        self.to(memory_format=torch.channels_last)

    def forward(self, image_B3HW: Tensor, extra_BChw: Tensor | None = None) -> Tensor:
        with torch.autocast(image_B3HW.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            with torch.no_grad():
                features = self.stem(image_B3HW, extra_BChw)
                for name in self._front:
                    features = self.units[name](features)
            for name in self._rest:
                features = self.units[name](features)
        return nn.functional.normalize(self.pool(features.float()), dim=1)


def build_network(trial: TrialSpec, weights: Path | None) -> PlaceNetwork:
    """The network of a trial, ready to train; everything random in it comes from the trial's seed.

    Args:
        trial: resolved.
        weights: the initial weights' file, a checkpoint where the trial names one; None starts from random ones.

    Raises:
        WeightsError: the file is not this backbone's.
    """
    spec, mode = trial.network, trial.input.mode
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        family = FAMILIES[spec.backbone]
        units, dimensions = family.build(spec.backbone)
        pool = GeM(spec.gem_p)
        if weights is not None and spec.checkpoint is not None:
            place = nn.ModuleDict({"units": nn.ModuleDict(units), "pool": pool})
            place.load_state_dict(read_checkpoint(weights, spec.backbone))
        elif weights is not None:
            family.load_weights(units, weights)
        if MODE_CHANNELS[mode] != 3:
            first = next(iter(units.values()))
            assert isinstance(first, nn.Conv2d) and trial.input.conv1_init is not None
            widen(first, MODE_CHANNELS[mode], trial.input.conv1_init)
    trained = trained_units(spec.backbone, spec.unfreeze)
    full = full_level(len(trial.input.class_names), trial.input.mask_reduce) if trial.input.mask_reduce else FULL
    return PlaceNetwork(InputStem(mode, full), nn.ModuleDict(units), pool, trained, dimensions, trial.train.precision)


def set_mode(network: PlaceNetwork, batch_norm: BatchNormMode, training: bool) -> None:
    """Training or evaluation mode.

    `frozen` keeps every BatchNorm layer in evaluation mode always, `sync` those of frozen units; under `reference` all
    of them are in training mode, as they were when GCL was published.
    """
    network.train(training)
    if batch_norm == "reference":
        return
    for name, unit in network.units.items():
        if batch_norm == "frozen" or name not in network.trained:
            for module in unit.modules():
                if isinstance(module, BATCH_NORM):
                    module.eval()
