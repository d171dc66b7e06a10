"""BatchNorm over all ranks (`batch_norm: sync`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn

BEHIND = ("drop", "act")
"""What a BatchNorm of timm's may hold, in the order in which it calls them."""
BATCH_NORM = nn.modules.batchnorm._BatchNorm


class _SumOverRanks(torch.autograd.Function):
    """The sum over ranks; every rank's gradient reaches every rank."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class SyncedBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d that in training mode normalises by the statistics of all ranks' images together.

    torch's own SyncBatchNorm needs GPUs; this one also runs over gloo. Sums of float32, in double precision where they
    are added, so that the number of ranks changes nothing but rounding.
    """

    def forward(self, input: Tensor) -> Tensor:
        found = self._synced(input) if self.training else super().forward(input)
        for name in BEHIND:
            found = getattr(self, name)(found) if hasattr(self, name) else found
        return found

    def _synced(self, input: Tensor) -> Tensor:
        features_BCHW = input.float()
        count = torch.full((1,), features_BCHW.numel() / self.num_features, dtype=torch.float64, device=input.device)
        sums = [features_BCHW.sum(dim=(0, 2, 3), dtype=torch.float64)]
        total: Tensor = _SumOverRanks.apply(torch.cat([count, *sums]))
        if total[0] < 2:
            raise ValueError(f"BatchNorm needs more than one value a channel, over all ranks: {tuple(input.shape)}")
        mean = total[1:] / total[0]
        centred = features_BCHW - mean.view(1, -1, 1, 1).float()
        variance: Tensor = _SumOverRanks.apply(centred.square().sum(dim=(0, 2, 3), dtype=torch.float64)) / total[0]
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            unbiased = variance * total[0] / (total[0] - 1)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        scale = (variance + self.eps).rsqrt().float()
        if self.affine:
            scale = scale * self.weight
        out = centred * scale.view(1, -1, 1, 1)
        return (out + self.bias.view(1, -1, 1, 1) if self.affine else out).to(input.dtype)


def synchronise(module: nn.Module, names: Collection[str]) -> None:
    """Give every BatchNorm2d in the named children its synchronised form, in place; parameters and names stay.

    Does nothing where there is one rank. A layer that holds what follows it (`timm.layers.BatchNormAct2d`) keeps it.
    """
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return
    for name, child in module.named_children():
        if name in names:
            if type(child) is nn.BatchNorm2d or _holds_more(child):
                setattr(module, name, _synced(child))
            else:
                synchronise(child, [below for below, _ in child.named_children()])


def _holds_more(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    return isinstance(norm, nn.BatchNorm2d) and all(isinstance(getattr(norm, name, None), nn.Module) for name in BEHIND)


def _synced(norm: nn.BatchNorm2d) -> nn.Module:
    if type(norm) is nn.BatchNorm2d and next(norm.parameters()).is_cuda:
        on_gpu: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return on_gpu
    synced = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    synced.load_state_dict(norm.state_dict())
    # The very parameters: an optimizer may hold them already.
    synced.weight, synced.bias = norm.weight, norm.bias
    for name in BEHIND if _holds_more(norm) else ():
        setattr(synced, name, getattr(norm, name))
    return synced
