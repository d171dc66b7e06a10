"""Reading weights' files, for every backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from vprdist.errors import WeightsError, first_line
from vprdist.tensors import is_state, load_tensors

RULE = "the file must hold a state dict"


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict of tensors and nothing else, on the CPU.

    Raises:
        WeightsError: unreadable, or not a plain state dict.
    """
    state = load_tensors(path, RULE, "Fetch it again.")
    if not is_state(state):
        raise WeightsError(path, RULE, type(state).__name__, "Fetch it again.")
    return dict(state)


def fill_units(units: OrderedDict[str, nn.Module], state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state whose keys begin with the units' names; nothing may be missing or left over.

    Raises:
        WeightsError: the weights of another network.
    """
    try:
        nn.ModuleDict(units).load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(path, "the weights must be this backbone's", first_line(error), "Check the file.") from None
