"""Losses by name."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from vprdist.spec.base import marked
from vprdist.spec.named import BuiltIn, Door, Named, parameters

_MARGIN = parameters(margin=(float, Field(default=0.5, gt=0, description="distance from which a pair is told apart")))

_NEGATIVES: tuple[Any, Any] = (
    Literal["own", "hardest", "all"],
    Field(default="own", description="those drawn for a query, or of the batch the hardest for each positive, or all"),
)
_TRIPLET_MARGIN: tuple[Any, Any] = (
    float, Field(default=0.1, gt=0, description="by which a negative is to be farther away than a positive"),
)  # fmt: skip
_PAIRED: dict[str, Any] = {"wants": "all", "draws": (1.0, 0.0, 0.0), "labels": "fov"}


def _keywords(of: str) -> tuple[Any, Any]:
    about = f"keywords of the {of}, as the library has them"
    return dict[str, Any], Field(default={}, description=about, json_schema_extra=marked(key="keyword"))


def _word(about: str, **more: Any) -> tuple[Any, Any]:
    return (str | None if more else str), Field(min_length=1, description=about, **more)


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
            "triplet": BuiltIn(
                "vprdist.training.losses.triplet:TripletLoss",
                parameters(margin=_TRIPLET_MARGIN, negatives=_NEGATIVES),
                facts=_PAIRED,
            ),
            "sharpened_triplet": BuiltIn(
                "vprdist.training.losses.sharpened_triplet:SharpenedTripletLoss",
                parameters(
                    margin=_TRIPLET_MARGIN,
                    margin_pn=(float, Field(default=1.4, gt=0, description="aimed at between positive and negative")),
                    version=(Literal[1, 2], Field(default=1, description="2: positive and negative alone count")),
                    negatives=_NEGATIVES,
                ),
                facts=_PAIRED,
            ),
            "multi_similarity": BuiltIn(
                "vprdist.training.losses.multi_similarity:MultiSimilarityLoss",
                parameters(
                    alpha=(float, Field(default=1.0, gt=0, description="steepness for positives")),
                    beta=(float, Field(default=50.0, gt=0, description="steepness for negatives")),
                    base=(float, Field(default=0.0, description="similarity (cosine) that tells them apart")),
                    epsilon=(float, Field(default=0.1, description="margin within which the miner keeps a pair")),
                ),
                facts=_PAIRED, extra="metric",
            ),
            "metric": BuiltIn(
                "vprdist.training.losses.metric:MetricLoss",
                parameters(
                    loss=_word("name of a loss of pytorch-metric-learning"), arguments=_keywords("loss"),
                    miner=_word("name of a miner, which says which pairs count; null: all", default=None),
                    miner_arguments=_keywords("miner"),
                    distance=_word("name of a distance of both; null: the usual one of each", default=None),
                    distance_arguments=_keywords("distance"),
                ),
                facts={**_PAIRED, "elsewhere": True}, extra="metric", short="loss",
                example="metric:MultiSimilarityLoss", titled=("loss",),
            ),
        },
        facts={"wants": "all", "draws": (0.5, 0.25, 0.25), "labels": "fov", "elsewhere": False},
        default="gcl",
    )  # fmt: skip
