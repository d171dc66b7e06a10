"""torchvision's ResNets as eight units: conv1, bn1, relu, maxpool, layer1 … layer4 (the reference's children)."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
import torchvision
from torch import nn

from vprdist.errors import WeightsError
from vprdist.network.backbones.state import fill_units, read_state
from vprdist.spec.vocabulary import BACKBONE_UNITS

# The first published weights: what the reference and the paper trained from.
TAGS = {name: "IMAGENET1K_V1" for name in BACKBONE_UNITS if name.startswith("resnet")}


def build(name: str) -> tuple[OrderedDict[str, nn.Module], int]:
    network = torchvision.models.get_model(name, weights=None)
    units = OrderedDict((unit, getattr(network, unit)) for unit in BACKBONE_UNITS[name])
    return units, int(network.fc.in_features)


def find_weights(name: str) -> Path:
    weights = torchvision.models.get_model_weights(name)[TAGS[name]]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(weights.url).name
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(weights.url, str(path), hash_prefix=path.stem.split("-")[-1])
        except Exception as error:  # no network, a full disk, a wrong hash: all mean that there are none
            remedy = f"Put {path.name} there by hand, or set trial.network.weights=none."
            raise WeightsError(path, "pretrained weights could not be fetched", str(error), remedy) from None
    return path


def load_weights(units: OrderedDict[str, nn.Module], path: Path) -> None:
    state = {key: value for key, value in read_state(path).items() if not key.startswith("fc.")}
    fill_units(units, state, path)
