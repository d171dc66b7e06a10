"""The multi-similarity loss with its miner, of pytorch-metric-learning (extra `metric`)."""

from __future__ import annotations

from vprdist.training.losses.metric import MetricLoss


class MultiSimilarityLoss(MetricLoss):
    """The mean over queries of log(1 + Σ_p e^{-α(s_p - λ)}) / α + log(1 + Σ_n e^{β(s_n - λ)}) / β; s are cosines.

    Wang et al., "Multi-Similarity Loss with General Pair Weighting" (2019), eq. 14; its miner keeps a positive p with
    s_p - ε < max s_n and a negative n with s_n + ε > min s_p (eq. 11 and 12). Loss and miner are the library's; queries
    are the anchors, and the graded similarities say which partners are positives (0.5 and more) and negatives (0).

    Args:
        alpha, beta, base: α, β, λ.
        epsilon: ε of the miner.
    """

    def __init__(self, alpha: float, beta: float, base: float, epsilon: float) -> None:
        super().__init__(
            "MultiSimilarityLoss", {"alpha": alpha, "beta": beta, "base": base},
            "MultiSimilarityMiner", {"epsilon": epsilon},
        )  # fmt: skip
