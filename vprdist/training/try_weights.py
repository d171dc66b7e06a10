"""Whether an aggregator of a user's own does with weights and sums what its text states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.errors import OwnCodeError
from vprdist.network.model import PlaceNetwork
from vprdist.network.wiring import Maps, each
from vprdist.spec.doors import AggregatorName

TOLERANCE = 1e-5
"""Largest difference between numbers of descriptors of length 1."""
MAPS = 3
"""Maps whose sum is a mask."""


@torch.no_grad()
def try_weights(network: PlaceNetwork, image_B3HW: Tensor, extra_BChw: Tensor | None, spec: AggregatorName) -> None:
    """Hold an aggregator's `weighs` and `sums` against what it answers; nothing where it states neither.

    Args:
        network: in evaluation mode.
        image_B3HW, extra_BChw: what the trial's mode reads.

    Raises:
        OwnCodeError: equal weights change a descriptor, others change none, or the sums of maps are not those that a
            descriptor under their mask is made of.
    """
    if not (spec.fact("weighs") or spec.fact("sums")):
        return
    if network.mask is not None and extra_BChw is not None:
        extra_BChw = network.mask(image_B3HW, extra_BChw)
    features, generator = network.features(image_B3HW, extra_BChw).maps, torch.Generator().manual_seed(0)
    maps = each(features, lambda one: torch.rand((len(one), MAPS, *one.shape[2:]), generator=generator).to(one))
    pool: Any = network.pool

    def described(weights: Maps) -> Tensor:
        return nn.functional.normalize(pool(features, token=None, weights=weights), dim=1)

    plain, ones = described(None), each(maps, lambda one: torch.ones_like(one[:, :1]))
    if off := _apart(described(ones), plain):
        raise OwnCodeError(
            spec.name, "an aggregator that states `weighs = True` must answer equal weights as it does none", off,
            "Divide by the sum of the weights.",
        )  # fmt: skip
    if _varies(features) and torch.equal(described(each(maps, _mask)), plain):
        fault = "an aggregator that states `weighs = True` must use `weights`"
        raise OwnCodeError(
            spec.name, fault, "the same descriptor under a mask", "Weigh each place, or do not state it."
        )
    if not spec.fact("sums"):
        return
    for name in ("sums_of", "from_sums"):
        if not callable(getattr(pool, name, None)):
            fault = f"an aggregator that states `sums = True` must have a method {name}"
            raise OwnCodeError(
                spec.name, fault, None, "Write it (`vprdist.network.aggregators.base`), or state no sums."
            )
    for shown in (maps, each(maps, torch.zeros_like)):
        mixed = pool.sums_of(features, shown).sum(dim=1)
        if off := _apart(network.from_sums(mixed), described(each(shown, _mask))):
            fault = "`from_sums` must answer the sums of maps as `forward` does their mask as weights"
            raise OwnCodeError(spec.name, fault, off, "Mend sums_of or from_sums, or do not state `sums = True`.")


def _mask(maps_BKhw: Tensor) -> Tensor:
    return maps_BKhw.sum(dim=1, keepdim=True)


def _varies(features: Maps) -> bool:
    """Whether places differ, of one scale at least."""
    return any(
        bool((one != one[:, :, :1, :1]).any()) for one in ([*features] if isinstance(features, tuple) else [features])
    )


def _apart(found_BD: Tensor, wanted_BD: Tensor) -> str | None:
    """How far descriptors are from others, in words; None: not far."""
    if found_BD.shape != wanted_BD.shape:
        return f"shape {tuple(found_BD.shape)} for {tuple(wanted_BD.shape)}"
    most = float((found_BD - wanted_BD).abs().max())  # not finite: not near either
    return None if most <= TOLERANCE else f"{most:.3g} apart"
