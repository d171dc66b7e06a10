"""What backbones of torchvision's share: where their ImageNet weights come from, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from vprdist.errors import WeightsError, first_line
from vprdist.network.backbones.base import Backbone
from vprdist.network.backbones.state import fill_units, read_state

TAG = "IMAGENET1K_V1"
"""The first published weights: what the reference and the paper trained from."""


class OfTorchvision(Backbone):
    """A network that torchvision builds by its name; a subclass cuts it into units, and names its state by them.

    Args:
        name: as torchvision calls it.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def built(self) -> Any:
        """torchvision's network, randomly initialised."""
        return torchvision.models.get_model(self.name, weights=None)

    def key_here(self, key: str) -> str | None:
        """What a tensor of the published file is called here; None: it is the classifier's.

        Raises:
            NotImplementedError: a subclass without it.
        """
        raise NotImplementedError

    def find_weights(self) -> Path:
        weights = torchvision.models.get_model_weights(self.name)[TAG]
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        path = folder / Path(weights.url).name
        if not path.exists():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(weights.url, str(path), hash_prefix=path.stem.split("-")[-1])
            except Exception as error:  # no network, a full disk, a wrong hash: all mean that there are none
                remedy = f"Put {path.name} there by hand, or set trial.network.weights=none."
                found = first_line(error)
                raise WeightsError(path, "pretrained weights could not be fetched", found, remedy) from None
        return path

    def load_weights(self, path: Path) -> None:
        remedy = f"Delete {path}: it is fetched again."
        state = dict[str, Tensor]()
        for key, value in read_state(path, remedy).items():
            if (here := self.key_here(key)) is not None:
                state[here] = value
        units = self.modules_by_unit()
        for key, value in nn.ModuleDict(units).state_dict().items():
            if key.endswith(".num_batches_tracked"):  # files that are older than this count have none
                state.setdefault(key, torch.zeros_like(value))
        fill_units(units, state, path, remedy)
