"""Losses by name."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vprdist.spec.named import BuiltIn, Door, Named, parameters

_MARGIN = parameters(margin=(float, Field(default=0.5, gt=0, description="distance from which a pair is told apart")))


class LossName(Named):
    """The number that training minimises.

    Facts: `wants`, the batches that it is given (`pairs`: each query with its own partner, or with all where
    `train.pairs: all`; `all`: always every query with every partner); `draws`, how often a positive, a soft and a hard
    negative are drawn; `labels`, the dataset of the official label files that it learns from.
    """

    door: ClassVar[Door] = Door(
        "loss",
        {
            "gcl": BuiltIn(
                "vprdist.training.losses.gcl:GeneralizedContrastiveLoss",
                _MARGIN,
                facts={"wants": "pairs", "draws": (0.5, 0.25, 0.25), "labels": "fov"},
            ),
            "contrastive": BuiltIn(
                "vprdist.training.losses.contrastive:ContrastiveLoss",
                _MARGIN,
                facts={"wants": "pairs", "draws": (0.5, 0.0, 0.5), "labels": "sim"},
            ),
        },
        facts={"wants": "all", "draws": (0.5, 0.25, 0.25), "labels": "fov"},
        default="gcl",
    )
