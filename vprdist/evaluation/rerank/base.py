"""What a re-ranker is, and the local features that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vprdist.errors import OwnCodeError
from vprdist.network.batch import Batch
from vprdist.network.model import PlaceNetwork
from vprdist.spec.doors import RerankName
from vprdist.spec.own_load import blamed


@dataclass(frozen=True)
class LocalFeatures:
    """The local features of one picture: those of its map, but for places that do not count.

    A place does not count where a mask at the features weighs it zero, or where the network says nothing.

    Attributes:
        features_NC: float16, each of length one (rounded). The products of two such numbers are whole multiples of
            2^-48, so that their sums are exact in float64, in whatever order they are taken.
        places_N: of the map's h w places, row by row, which each feature stands at.
        size: (h, w) of the map.
    """

    features_NC: Tensor
    places_N: Tensor
    size: tuple[int, int]


class Reranker:
    """Orders the images that a first stage retrieved for a query.

    A subclass is made with its own parameters. It need not inherit from here: any class with `scores` will do. `top`
    is vprdist's: it stands beside the parameters, and no class is told of it.
    """

    def scores(self, query: LocalFeatures, candidates: Sequence[LocalFeatures]) -> Tensor:
        """(len(candidates),) finite numbers: the highest comes first, equal ones in the first stage's order.

        An image's number depends on the query and on this image alone: it is asked for once, whatever the gallery.
        """
        raise NotImplementedError


def features_of(network: PlaceNetwork, batch: Batch) -> list[LocalFeatures]:
    """The local features of each picture of a batch, as the network pools them."""
    extra = batch.extra
    if network.mask is not None and extra is not None:
        extra = network.mask(batch.image, extra)
    features = network.features(batch.image, extra, batch.outline).last
    counts_BN = features.flatten(2).abs().amax(dim=1) > 0
    size = (features.shape[2], features.shape[3])
    if network.stem.at_features:
        assert extra is not None, "mode masked has a mask"
        counts_BN &= network.stem.weights(extra, size).flatten(1) > 0
    unit_BNC = torch.nn.functional.normalize(features, dim=1).flatten(2).transpose(1, 2).half()
    places = [counts.nonzero()[:, 0] for counts in counts_BN]
    return [
        LocalFeatures(unit_NC[some].contiguous(), some, size) for unit_NC, some in zip(unit_BNC, places, strict=True)
    ]


def scored(reranker: Any, named: RerankName, query: LocalFeatures, candidates: Sequence[LocalFeatures]) -> Tensor:
    """(len(candidates),) float64 on the CPU: what a re-ranker answers, looked at.

    Raises:
        OwnCodeError: a user's class breaks, or answers with something else.
    """
    with blamed(named.name, otherwise=named.name if named.is_own else None):
        found = reranker.scores(query, candidates)
    if not isinstance(found, Tensor) or found.shape != (len(candidates),):
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        fault = f"a re-ranker must answer with one number an image, a tensor of shape ({len(candidates)},)"
        raise OwnCodeError(named.name, fault, str(got), "Mend the class.")
    if not torch.isfinite(found).all():
        raise OwnCodeError(named.name, "the scores of a re-ranker must be finite", str(found[:4].tolist()))
    return found.double().cpu()
