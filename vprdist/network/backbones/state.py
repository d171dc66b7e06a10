"""Reading weights' files, for every backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from vprdist.errors import WeightsError
from vprdist.tensors import difference, find_state, load_tensors, no_state, not_finite

RULE = "the file must hold a state dict"


def read_state(path: Path, remedy: str) -> dict[str, Tensor]:
    """The state dict of a file, on the CPU; objects beside it are left out.

    Args:
        remedy: how a broken file is replaced.

    Raises:
        WeightsError: unreadable, or no state dict in it.
    """
    loaded = load_tensors(path, RULE, remedy)
    if (state := find_state(loaded)) is None:
        raise no_state(path, RULE, loaded, remedy)
    return state


def fill_units(units: OrderedDict[str, nn.Module], state: Mapping[str, Tensor], path: Path, remedy: str) -> None:
    """Load a state whose keys begin with the units' names; nothing may be missing, left over, or not finite.

    Raises:
        WeightsError: the weights of another network.
    """
    place = nn.ModuleDict(units)
    if (found := difference(state, place.state_dict())) is not None:
        raise WeightsError(path, "the weights must be this backbone's", found, remedy)
    if (found := not_finite(state)) is not None:
        raise WeightsError(path, "weights must be finite", found, remedy)
    place.load_state_dict(state)
