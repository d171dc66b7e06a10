"""Reading weights' files, for every backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vprdist.errors import WeightsError


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict of tensors and nothing else, on the CPU.

    Raises:
        WeightsError: unreadable, or not a plain state dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here, and every one means the same
        raise WeightsError(
            path, "the file must hold a state dict", str(error).splitlines()[0], "Fetch it again."
        ) from None
    return dict(state)


def fill_units(units: OrderedDict[str, nn.Module], state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state whose keys begin with the units' names; nothing may be missing or left over.

    Raises:
        WeightsError: the weights of another network.
    """
    try:
        nn.ModuleDict(units).load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            path, "the weights must be this backbone's", str(error).splitlines()[0], "Check the file."
        ) from None
