"""What keeps a mask that is learnt from showing everything: λ (M - budget)², M the mean of the step's masks.

M is of all pictures of a step, over all micro-batches and ranks, so it is looked at before any of them is trained on:
masks alone, which cost little beside the network. The gradient of λ (M - b)² is that of 2 λ (M - b) · M with the first
factor kept still, and so it is exact however a step is divided.

A budget of attention (`network.attention.spatial`) is of each picture alone: a look at its factor would be a whole
forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vprdist.distributed.ranks import Ranks
from vprdist.network.model import Described, PlaceNetwork
from vprdist.training.batches import PairBatch


class MaskBudget:
    """Adds to the loss of a step what its masks and its attention cost, and logs it apart from the loss.

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

    def pull(self, sides: tuple[Described, Described], mean: Tensor | None, weight: float) -> Tensor | float:
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
            if side.penalty is not None:
                out = out + side.penalty.sum() * weight / self.pictures
        return out

    def penalties(self, sides: tuple[Described, Described], weight: float) -> Tensor | None:
        """This rank's part of what attention cost in a micro-batch; None where it has no budget."""
        found = [side.penalty.detach().sum() for side in sides if side.penalty is not None]
        return torch.stack(found).sum() * weight / self.pictures if found else None

    def logged(self, mean: Tensor | None, penalties: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """What the budgets cost in a step, and M.

        Args:
            penalties: of its micro-batches.
        """
        out = {}
        if mean is not None:
            out = {"loss/mask_budget": self.weight * (mean - self.budget).square(), "mask_mean": mean}
        if found := [each for each in penalties if each is not None]:
            out["loss/attention_budget"] = torch.stack(found).sum()
        return out
