"""Optimizers by name."""

from __future__ import annotations

import torch
from torch import nn

from vprdist.spec.train import TrainSpec


def build_optimizer(spec: TrainSpec, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over what is trained; its update of all parameters is one kernel."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
    return torch.optim.SGD(parameters, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
