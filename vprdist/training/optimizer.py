"""Optimizers by name."""

from __future__ import annotations

from typing import Any

import torch

from vprdist.network.model import PlaceNetwork
from vprdist.spec.train import TrainSpec


def build_optimizer(spec: TrainSpec, network: PlaceNetwork) -> torch.optim.Optimizer:
    """The optimizer over what is trained; its update of all parameters is one kernel.

    A mask that is learnt has a group of its own: its learning rate is `factor` times that of the others, and its
    weights do not decay, which would pull every class towards the others whatever the pictures say. With
    `backbone_lr_factor` the backbone's units have a group of their own too: what stands behind them starts from
    nothing, and can learn faster.
    """
    learnt = [] if network.mask is None else list(network.mask.parameters())
    factor = spec.backbone_lr_factor
    slower = [p for p in network.units.parameters() if p.requires_grad] if factor != 1 else []
    apart = set(map(id, (*learnt, *slower)))
    parameters = [p for p in network.parameters() if p.requires_grad and id(p) not in apart]
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if slower:
        groups.append({"params": slower, "factor": factor})
    if network.mask is not None and learnt:
        groups.append({"params": learnt, "weight_decay": 0.0, "factor": network.mask.training_spec.lr_factor})
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
    return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=True)
