"""What is minimised beside the loss of pairs: budgets of masks, and what attention or the aggregator adds by name.

A mask that is learnt is kept from showing everything: λ (M - budget)², M the mean of the step's masks.

M is of all pictures of a step, over all micro-batches and ranks, so it is looked at before any of them is trained on:
masks alone, which cost little beside the network. The gradient of λ (M - b)² is that of 2 λ (M - b) · M with the first
factor kept still, and so it is exact however a step is divided.

What attention adds (`network.attention.base`) is of each picture alone: a look at it would be a whole forward pass. The
mean over all pictures of a step does not depend on how it is divided.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vprdist.distributed.ranks import Ranks
from vprdist.network.batch import Described
from vprdist.network.model import PlaceNetwork
from vprdist.training.batches import PairBatch


class MaskBudget:
    """Adds to the loss of a step what its masks, attention and aggregator cost, and logs it apart from the loss.

    Args:
        pictures: how many a query and its partners are.
    """

    def __init__(self, network: PlaceNetwork, ranks: Ranks, pictures: int) -> None:
        self.mask, self.ranks, self.pictures = network.mask, ranks, pictures
        spec = None if self.mask is None else self.mask.training_spec
        self.weight, self.budget = (0.0, 1.0) if spec is None else (spec.budget_weight, spec.budget)

    @torch.no_grad()
    def look(self, batch: PairBatch) -> Tensor | None:
        """M of the step, on every rank; None where no mask is learnt."""
        if self.mask is None:
            return None
        total, part = torch.zeros((), device=self.ranks.device), batch.part
        for micro in part.micro if part.counts[self.ranks.rank] else ():
            for side in batch.sides(micro):
                assert side.extra is not None, "a mask is learnt from activations"
                total = total + self.mask(side.image, side.extra).mean(dim=(1, 2, 3)).sum()
        return self.ranks.mean(total) * self.ranks.world_size / (self.pictures * part.total)

    def pull(self, sides: Sequence[Described], mean: Tensor | None, weight: float) -> Tensor | float:
        """What is added to the loss before its gradient is taken; a number that a gradient flows through, or 0.

        Args:
            sides: queries and partners of a micro-batch.
            mean: what `look` said.
            weight: of a query of this rank in the mean over all of the step's.
        """
        out: Tensor | float = 0.0
        for side in sides:
            if mean is not None and side.shown is not None:
                out = out + self.weight * (mean - self.budget) * side.shown.sum() * weight * 2 / self.pictures
            for each in side.losses.values():
                out = out + each.sum() * weight / self.pictures
        return out

    def told(self, sides: Sequence[Described], weight: float) -> dict[str, Tensor]:
        """This rank's part of what attention and the aggregator added in a micro-batch, by name."""
        names = dict.fromkeys(name for side in sides for name in side.losses)
        found = {name: torch.stack([side.losses[name].detach().sum() for side in sides]) for name in names}
        return {name: each.sum() * weight / self.pictures for name, each in found.items()}

    def logged(self, mean: Tensor | None, told: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """What was added to the loss in a step, each by its name, and M.

        Args:
            told: of its micro-batches.
        """
        out = {}
        if mean is not None:
            out = {"loss/mask_budget": self.weight * (mean - self.budget).square(), "mask_mean": mean}
        names = dict.fromkeys(name for each in told for name in each)
        return out | {f"loss/{name}": torch.stack([each[name] for each in told]).sum() for name in names}
