"""SRALNet: NetVLAD whose clusters have shadows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vprdist.network.aggregators.base import Samples
from vprdist.network.aggregators.netvlad import SHARPNESS, NetVLAD
from vprdist.network.clusters import Advanced, centres_of, silent


class SRALNet(NetVLAD):
    """NetVLAD with S shadow centres s_km of each cluster, which take what looks like it and should not count
    (Peng et al. 2021, "Semantic Reinforced Attention Learning"; as quoted in Wang et al. 2023, "Hybrid CNN-Transformer
    Features for Visual Place Recognition", eq. 8-11).

    V_k = Σ a_k β_k (x - c_k), with β_k = e^(w_k x + b_k) / (e^(w_k x + b_k) + Σ_m e^(v_km x + b_km)); a_k, w_k, b_k,
    the order of norms and weights of places are NetVLAD's (form 2), and v = 2 α s, b = -α |s|² at the start. All of
    them are free after it, as in public codes.

    It starts from features with labels. Centres are clusters of the features of `centre_classes`; each other class
    (`shadow_classes`, where some are named) offers the mean of its features, and a cluster takes the S nearest to its
    centre by directions. Where fewer classes were seen, the nearest other centres follow.

    Adapted: the authors' labels are of logits whose maxima are taken over each place; here the class of the largest
    mean activation, since a cache holds probabilities.
    """

    def __init__(
        self, channels: int, clusters: int = 64, shadows: int = 4, centre_classes: Sequence[str] = (),
        shadow_classes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(channels, clusters)
        self.starts, self.centre_classes, self.shadow_classes = True, centre_classes, shadow_classes
        shadows_KSC = F.normalize(torch.rand(clusters, shadows, channels), dim=2)
        # A parameter without numbers would be one that no step moves.
        self.shadow_weight = nn.Parameter(torch.zeros_like(shadows_KSC)) if shadows else None
        self.shadow_bias = nn.Parameter(torch.zeros(clusters, shadows)) if shadows else None
        self._shade(shadows_KSC, SHARPNESS)

    @torch.no_grad()
    def start_from(self, samples: Samples, advanced: Advanced = silent) -> None:
        x_NC = F.normalize(samples.of(self.centre_classes), dim=1)
        centres_KC = centres_of(x_NC, len(self.centres), samples.seed, advanced)
        alpha = self._sharpness(x_NC, centres_KC)
        self._place(centres_KC, alpha)
        self._shade(self._nearest_shadows(centres_KC, self._candidates(samples)), alpha)

    def _candidates(self, samples: Samples) -> Tensor:
        """(M, C) float64: the mean of each class that may shade; a class that was not seen has none."""
        others = [name for name in samples.classes if name not in self.centre_classes]
        found = [samples.of([name]) for name in self.shadow_classes or others]
        means = [F.normalize(each.double(), dim=1).mean(dim=0) for each in found if len(each)]
        return torch.stack(means) if means else self.centres.new_zeros(0, self.centres.shape[1]).double()

    def _nearest_shadows(self, centres_KC: Tensor, candidates_MC: Tensor) -> Tensor:
        """(clusters, S, C): for each centre the nearest candidates, then the nearest other centres."""
        count, own_KC = 0 if self.shadow_bias is None else self.shadow_bias.shape[1], F.normalize(centres_KC, dim=1)
        first = min(count, len(candidates_MC))
        near_KM = own_KC @ F.normalize(candidates_MC, dim=1).T  # of unit vectors, by the same order as distances
        near_KK = (own_KC @ own_KC.T).fill_diagonal_(-torch.inf)
        chosen_KF = near_KM.argsort(dim=1, descending=True, stable=True)[:, :first]
        filled_KR = near_KK.argsort(dim=1, descending=True, stable=True)[:, : count - first]
        return torch.cat([candidates_MC[chosen_KF], centres_KC[filled_KR]], dim=1)

    @torch.no_grad()
    def _shade(self, shadows_KSC: Tensor, alpha: float) -> None:
        if self.shadow_weight is not None and self.shadow_bias is not None:
            self.shadow_weight.copy_(2 * alpha * shadows_KSC)
            self.shadow_bias.copy_(-alpha * shadows_KSC.square().sum(dim=2))

    def _assigned(self, x_BChw: Tensor) -> Tensor:
        """(B, clusters, h, w) float64: a_k β_k."""
        scores_BKhw = self._scores(x_BChw.double())
        shares_BKhw: Tensor = scores_BKhw.softmax(dim=1)
        if self.shadow_weight is None or self.shadow_bias is None:
            return shares_BKhw
        filters = self.shadow_weight.double().flatten(0, 1)[:, :, None, None]
        shaded = F.conv2d(x_BChw.double(), filters, self.shadow_bias.double().flatten())
        against_BKhw: Tensor = shaded.unflatten(1, self.shadow_bias.shape).logsumexp(dim=2)
        return shares_BKhw * (scores_BKhw - against_BKhw).sigmoid()
