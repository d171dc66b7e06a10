"""torchvision's ResNets as eight units: conv1, bn1, relu, maxpool, layer1 … layer4 (the reference's children)."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision

from vprdist.errors import WeightsError, first_line
from vprdist.network.backbones.base import Backbone
from vprdist.network.backbones.state import fill_units, read_state
from vprdist.spec.doors import RESNET_UNITS

TAG = "IMAGENET1K_V1"
"""The first published weights: what the reference and the paper trained from."""


class ResNet(Backbone):
    """A ResNet (He et al. 2016) of some depth, randomly initialised."""

    units = RESNET_UNITS

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.name = f"resnet{depth}"
        network = torchvision.models.get_model(self.name, weights=None)
        for unit in self.units:
            self.add_module(unit, getattr(network, unit))
        self.channels = int(network.fc.in_features)

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
        state = {key: value for key, value in read_state(path, remedy).items() if not key.startswith("fc.")}
        fill_units(self.modules_by_unit(), state, path, remedy)
