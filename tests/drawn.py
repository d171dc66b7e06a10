"""torchvision's networks, drawn once from each seed in a process: the same numbers, copied, and the same seed goes on.

A ResNet-18 of random weights takes three times as long to draw as to copy, and tests build hundreds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from vprdist.network.backbones.of_torchvision import OfTorchvision

KEPT = 8
"""So many, of 45 MB."""


@pytest.fixture(autouse=True, scope="package")
def copied_networks() -> Iterator[None]:
    """For a conftest: networks are copies where the same one was drawn before, and the generator stands where drawing
    leaves it."""
    draw = OfTorchvision.built

    def built(self: OfTorchvision) -> Any:
        if self.name != "resnet18" or torch.get_default_device().type != "cpu":
            return draw(self)
        key = (self.name, torch.get_rng_state().numpy().tobytes())
        if key not in _DRAWN:
            if len(_DRAWN) == KEPT:
                del _DRAWN[next(iter(_DRAWN))]
            _DRAWN[key] = draw(self), torch.get_rng_state()
        network, after = _DRAWN[key]
        torch.set_rng_state(after)
        return copy.deepcopy(network)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(OfTorchvision, "built", built)
        yield


_DRAWN: dict[tuple[str, bytes], tuple[Any, torch.Tensor]] = {}
