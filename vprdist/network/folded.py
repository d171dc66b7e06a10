"""The form in which a network describes pictures on a CPU: the same function, in fewer passes over memory."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vprdist.network.batch_norm import BATCH_NORM
from vprdist.network.model import PlaceNetwork


@torch.no_grad()
def folded(network: PlaceNetwork) -> PlaceNetwork:
    """A copy that describes pictures as the network does in evaluation mode, to rounding.

    BatchNorm is folded into the convolution before it, and activations write where they read. A user's own units stay
    as they are: nobody knows in which order they call what they hold.
    """
    out = copy.deepcopy(network)
    out.requires_grad_(False).eval()
    if network.foldable:
        _fold(out.units)
    return out.to(memory_format=torch.channels_last)


def _fold(module: nn.Module) -> None:
    children = list(module.named_children())
    for (name, convolution), (below, following) in pairwise(children):
        holder = module
        if isinstance(following, nn.Sequential) and len(following):  # the norm, and the activation behind it
            holder, (below, following) = following, next(following.named_children())
        if isinstance(convolution, nn.Conv2d) and isinstance(following, BATCH_NORM):
            setattr(module, name, fuse_conv_bn_eval(convolution, following))
            setattr(holder, below, nn.Identity())
    for _, child in module.named_children():
        if isinstance(child, (nn.ReLU, nn.ReLU6)):
            child.inplace = True
        _fold(child)
