"""Losses, one a file. `spec.doors.LossName` lists them; `base` says what one is."""

from __future__ import annotations

from typing import Any

from torch import nn

from vprdist.errors import OwnCodeError
from vprdist.spec.doors import LossName
from vprdist.spec.train import TrainSpec


def build_loss(spec: TrainSpec) -> Any:
    """The loss that the recipe names: a `PairLoss` or a `BatchLoss`.

    Raises:
        OwnCodeError: a user's class that cannot be made, or is no loss.
    """
    loss = spec.loss.make()
    stated = spec.loss.fact("wants")
    fault, found = "", None
    if not callable(loss):
        fault, found = "must be callable", type(loss).__name__
    elif getattr(loss, "wants", "all") != stated:
        fault, found = f'must state wants = "{loss.wants}" in its own body', stated
    elif other := next((name for name in ("draws", "labels") if _stated_otherwise(spec.loss, loss, name)), None):
        fault, found = f"must state {other} as a plain value in its own body", repr(getattr(loss, other))
    elif isinstance(loss, nn.Module) and any(True for _ in loss.parameters()):
        fault, found = "has parameters of its own, which nobody trains", next(loss.named_parameters())[0]
    if fault:
        raise OwnCodeError(spec.loss.name, f"the class {fault}", found, "Mend the file, and run the sweep again.")
    return loss


def _stated_otherwise(named: LossName, loss: Any, name: str) -> bool:
    """Whether a user's loss has another value of a fact than its text says: there a computed one is not seen."""
    if not named.is_own:
        return False
    said = named.fact(name)
    has = getattr(loss, name, said)
    return bool(has != (type(has)(said) if isinstance(has, (list, tuple)) else said))
