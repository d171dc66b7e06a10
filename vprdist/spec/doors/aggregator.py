"""Aggregators by name."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vprdist.spec.named import BuiltIn, Door, Named, parameters


class AggregatorName(Named):
    """Features to one descriptor: (B, C, h, w) -> (B, D).

    Facts: `weighs`, whether it honours how much each place counts; `sums`, whether what it pools is a sum over places,
    so that the descriptors under all masks follow from one pass (`network.aggregators.base`).
    """

    door: ClassVar[Door] = Door(
        "aggregator",
        {
            "gem": BuiltIn(
                "vprdist.network.aggregators.gem:GeM",
                parameters(p=(float, Field(default=3.0, gt=0, description="exponent at the start; it is learnt"))),
                facts={"weighs": True, "sums": True},
            ),
            "netvlad": BuiltIn(
                "vprdist.network.aggregators.netvlad:NetVLAD",
                parameters(clusters=(int, Field(default=64, ge=1, description="centres whose residuals are summed"))),
                facts={"weighs": True, "sums": True},
            ),
        },
        provided=("channels",),
        facts={"weighs": False, "sums": False},
        default="gem",
    )
