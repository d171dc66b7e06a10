"""The place network: stem, backbone units with attention behind some of them, aggregator, L2 norm."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vprdist.errors import SweepFileError
from vprdist.network.batch import Described
from vprdist.network.batch_norm import BATCH_NORM
from vprdist.network.checkpoints import is_backbones_alone, read_checkpoint, taught_part
from vprdist.network.masks.learnt import LearntMask
from vprdist.network.parts import Shown, build_mask, build_parts, unfit
from vprdist.network.stem import InputStem, widen
from vprdist.network.wiring import PLAIN, Seen, Wiring, told, wiring_of
from vprdist.semantics.cache import grid_of
from vprdist.semantics.masks import FULL, full_level
from vprdist.spec.input import InputSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import BatchNormMode, Grid, MaskFill, Precision


class PlaceNetwork(nn.Module):
    """Images to unit-length descriptors, (B, 3, H, W) uint8 [and (B, C, h, w)] -> (B, D) float32.

    Args:
        trained: the units that are trained. The frozen ones before the first of them run without autograd.
        pool: the aggregator.
        attention: by the unit that it stands behind.
        wiring: how they are joined.
        foldable: the units are built-in ones, whose BatchNorm follows the convolution that stands before it.
        precision: `bf16` computes the units in bfloat16 where torch's autocast does; the aggregator stays in float32.
        mask: learns a mask from what the reader gives; the stem is given it in the place of levels.
    """

    def __init__(
        self, stem: InputStem, units: nn.ModuleDict, pool: nn.Module, trained: tuple[str, ...], dimensions: int,
        precision: Precision = "float32", attention: nn.ModuleDict | None = None, wiring: Wiring = PLAIN,
        foldable: bool = True, mask: LearntMask | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem, self.units, self.pool = stem, units, pool
        self.attention = nn.ModuleDict() if attention is None else attention
        self.wiring, self.mask = wiring, mask
        self.trained, self.dimensions, self.precision, self.foldable = trained, dimensions, precision, foldable
        for name, unit in units.items():
            unit.requires_grad_(name in trained)
        names = list(units)
        first = min((names.index(name) for name in trained), default=len(names))
        # Attention always trains: what comes after it needs gradients, what comes before does not.
        self._inside = {} if wiring.factor else {name: names.index(name) + 1 for name in self.attention}
        first = min([first, *self._inside.values()])
        # A mask that is learnt stands before all of them, where it hides pixels.
        self._learns_pixels = mask is not None and not stem.at_features
        first = 0 if self._learns_pixels else first
        self._front, self._rest = names[:first], names[first:]
        self.held: frozenset[str] = frozenset()
        # Convolutions are fastest so, on GPUs and on the CPU; parameters keep their shapes.
        self.to(memory_format=torch.channels_last)

    def hold(self, names: Collection[str]) -> None:
        """Keep some of the state of trained units as it is: parameters, and the statistics of BatchNorm."""
        self.held = frozenset(names)
        for name, parameter in self.units.named_parameters():
            if name in self.held:
                parameter.requires_grad_(False)

    def forward(self, image_B3HW: Tensor, extra_BChw: Tensor | None = None, outline: bool | None = None) -> Tensor:
        """Descriptors. `outline`: see `InputStem`."""
        return self.described(image_B3HW, extra_BChw, outline).descriptors

    def described(
        self, image_B3HW: Tensor, extra_BChw: Tensor | None = None, outline: bool | None = None,
        activations_BKhw: Tensor | None = None,
    ) -> Described:  # fmt: skip
        """Descriptors, how much of each picture was shown, which a budget is about, and what more is to be minimised.

        Args:
            activations_BKhw: levels of all classes, where a part is taught by them (`Wiring.taught`); training's alone.
        """
        shown, losses = None, dict[str, Tensor]()
        if self.mask is not None and extra_BChw is not None:
            extra_BChw = self.mask(image_B3HW, extra_BChw)
            shown = extra_BChw.mean(dim=(1, 2, 3))
        seen = self.features(image_B3HW, extra_BChw, outline, activations_BKhw, losses)
        token, weigh = seen.token, None
        if self.stem.at_features:
            assert extra_BChw is not None, "mode masked has a mask"
            # A class token has seen the whole picture: it would tell what the mask leaves out.
            mask, token = extra_BChw, None
            weigh = partial(self._weights, mask)
        more = {"activations": self.wiring.cells(activations_BKhw)} if self.wiring.taught[1] else {}
        answer = self.pool(seen.maps, token=token, weights=seen.weights(weigh), **more)
        pooled = told(self.wiring.pool, answer, losses, len(image_B3HW))
        return Described(nn.functional.normalize(pooled, dim=1), shown, losses)

    def features(
        self, image_B3HW: Tensor, extra_BChw: Tensor | None, outline: bool | None = None,
        activations_BKhw: Tensor | None = None, losses: dict[str, Tensor] | None = None,
    ) -> Seen:  # fmt: skip
        """What is pooled.

        Args:
            image_B3HW, extra_BChw, outline, activations_BKhw: as `described`; of a mask that is learnt, what it
                answered.
            losses: takes what attention adds to the loss of each picture, by name.
        """
        losses = {} if losses is None else losses
        beside = {"extra": None if extra_BChw is None or not self.attention else self.stem.cells(extra_BChw)}
        if self.wiring.taught[0]:
            beside["activations"] = self.wiring.cells(activations_BKhw)
        kept: dict[str, Any] = {}
        with torch.autocast(image_B3HW.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            with torch.set_grad_enabled(torch.is_grad_enabled() and self._learns_pixels):
                features = self.stem(image_B3HW, extra_BChw, outline)
            with torch.no_grad():
                for name in self._front:
                    features = kept[name] = self.units[name](features)
            if self._front:
                features = kept[name] = self._attended(self._front[-1], features, beside, losses)
            for name in self._rest:
                features = kept[name] = self._attended(name, self.units[name](features), beside, losses)
        last, token = features if isinstance(features, tuple) else (features, None)
        last, scales = last.float(), self.wiring.scales
        maps = tuple(_plain(kept[name]).float() for name in scales) if scales else last
        factors = []
        for name, module in self.attention.items() if self.wiring.factor else ():
            answer = module(_plain(kept[name]).float(), last=last, **beside)
            factors.append(self._fitting(answer, (len(last), 1, *_plain(kept[name]).shape[2:]), losses))
        maps, factors = self.wiring.multiplied(maps, factors)
        return Seen(maps, token if token is None else token.float(), factors)

    def map_sums(self, image_B3HW: Tensor, maps_BKhw: Tensor) -> Tensor:
        """(B, K, M): what an aggregator of sums makes descriptors of, for each of some maps of levels.

        Only where masks weigh the pooling (the stem's `at_features`): there no feature depends on the mask.
        """
        seen = self.features(image_B3HW, None)
        sums: Tensor = _any(self.pool).sums_of(seen.maps, seen.weights(partial(self._weights, maps_BKhw)))
        return sums

    def from_sums(self, sums_BM: Tensor) -> Tensor:
        """(B, D) descriptors from the sums of their masks, as `forward` gives them."""
        return nn.functional.normalize(_any(self.pool).from_sums(sums_BM), dim=1)

    def _weights(self, maps_BKhw: Tensor, features_BChw: Tensor) -> Tensor:
        return self.stem.weights(maps_BKhw, (features_BChw.shape[2], features_BChw.shape[3]))

    def _attended(self, name: str, features: Any, beside: dict[str, Any], losses: dict[str, Tensor]) -> Any:
        if name not in self._inside:
            return features
        before, *token = features if isinstance(features, tuple) else (features,)
        after = self._fitting(self.attention[name](before, **beside), before.shape, losses)
        return (after, *token) if token else after

    def _fitting(self, answer: Any, shape: Sequence[int], losses: dict[str, Tensor]) -> Tensor:
        """What attention answers, without what it adds to the loss, which is taken apart.

        Raises:
            OwnCodeError: it has another shape.
        """
        found = told(self.wiring.attention, answer, losses, shape[0])
        if not isinstance(found, Tensor) or found.shape != torch.Size(shape):
            what = "a factor of each place" if self.wiring.factor else "features of the same shape"
            fault = f"attention must answer with {what}, {tuple(shape)}"
            raise unfit(self.wiring.attention, fault, list(found.shape) if isinstance(found, Tensor) else found)
        return found


def _plain(features: Any) -> Tensor:
    """Features without a class token."""
    found: Tensor = features[0] if isinstance(features, tuple) else features
    return found


def _any(module: Any) -> Any:
    """A module that has more methods than torch knows of."""
    return module


def build_network(trial: TrialSpec, weights: Path | None) -> PlaceNetwork:
    """The network of a trial, ready to train; everything random in it comes from the trial's seed.

    Args:
        trial: resolved; its cache says how masks lie on pictures.
        weights: the initial weights' file, a checkpoint where the trial names one; None starts from random ones.

    Raises:
        WeightsError: the file is not this backbone's.
        OwnCodeError: a user's class that cannot be made, or is not what its kind must be.
        SweepFileError: the mode adds channels, and the first unit cannot take them; or more parts of the backbone are
            to be trained than it has.
    """
    spec, mode, shown = (
        trial.network,
        trial.input.mode,
        Shown(trial.picture_size, trial.input.at_features, trial.input.map_names),
    )
    trains = trial.train.steps > 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        backbone, attention, pool = build_parts(spec, shown)
        units = nn.ModuleDict(backbone.modules_by_unit())
        if weights is not None and spec.checkpoint is not None and not is_backbones_alone(weights, spec):
            place = nn.ModuleDict({"units": units, "attention": attention, "pool": pool})
            place.load_state_dict(taught_part(place.state_dict()) | read_checkpoint(weights, spec, shown))
        elif weights is not None:
            backbone.load_weights(weights)
        if trial.input.num_added:
            first = next(iter(units.values()))
            if not isinstance(first, nn.Conv2d):
                fault = f"mode {mode} adds channels: the first unit of {spec.backbone.title} must be an nn.Conv2d"
                raise SweepFileError("trial.input.mode", fault, type(first).__name__, "Use rgb or masked.")
            assert trial.input.conv1_init is not None
            widen(first, 3 + trial.input.num_added, trial.input.conv1_init)
        grid: Grid = "cells" if trial.input.cache is None else grid_of(Path(trial.input.cache))
        mask = build_mask(trial.input, grid)  # last: it draws no random number of the others
    wiring = wiring_of(spec, grid)
    full = full_level(len(trial.input.class_names), trial.input.mask_reduce) if trial.input.mask_reduce else FULL
    if mask is not None:
        full, grid = 1, "cells"  # as it answers
    stem = InputStem(mode, full, grid, *form_of(trial.input), backbone.mean, backbone.std)
    network = PlaceNetwork(
        stem, units, pool, spec.trained if trains else spec.at_rest, int(pool.dimensions), trial.train.precision,
        attention, wiring, not (spec.backbone.is_own or spec.backbone.fact("elsewhere")), mask,
    )  # fmt: skip
    if trains:
        network.hold(backbone.held(spec.unfreeze, trial.picture_size))
    return network


def form_of(given: InputSpec) -> tuple[MaskFill | None, bool]:
    """What the stem is told of a trial's form of the mask: its fill, and whether the outline stands in its place."""
    return None if given.at_features else given.mask_fill, given.uses_mask and given.placebo == "outline"


def set_mode(network: PlaceNetwork, batch_norm: BatchNormMode, training: bool) -> None:
    """Training or evaluation mode.

    `frozen` keeps every BatchNorm layer in evaluation mode always, `sync` those of frozen units, or parts of units;
    under `reference` all of them are in training mode, as they were when GCL was published. Attention and the
    aggregator always train: their BatchNorm is kept under `frozen` alone.
    """
    network.train(training)
    if batch_norm == "reference":
        return
    moving = {f"units.{name}" for name in network.trained}
    for name, module in network.named_modules():
        if isinstance(module, BATCH_NORM) and name.startswith(("units.", "attention.", "pool.")):
            unit = ".".join(name.split(".")[:2])
            moves = unit in moving and f"{name.removeprefix('units.')}.running_mean" not in network.held
            if batch_norm == "frozen" or (name.startswith("units.") and not moves):
                module.eval()
