"""Which file the initial weights come from, and its digest: `python -m vprdist.network.weights resnet50 imagenet`.

It runs as a process of its own so that the driver of a sweep, which may live on a login node, never loads torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vprdist.errors import WeightsError
from vprdist.files import digest_file
from vprdist.network.backbones import FAMILIES
from vprdist.network.checkpoints import read_checkpoint


def weights_file(backbone: str, weights: str) -> Path:
    """The file of a backbone's initial weights: `imagenet`, or the path of a checkpoint.

    Raises:
        WeightsError: it cannot be had here.
    """
    if weights == "imagenet":
        return FAMILIES[backbone].find_weights(backbone)
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(path, "no such file of initial weights", None, "Check the path of network.weights.")
    return path


def look(backbone: str, weights: str) -> dict[str, object]:
    """{"path", "digest"}; {"error"} where ImageNet weights cannot be had; {"refused"}, a WeightsError's arguments,
    where the backbone cannot be built or the checkpoint is not its own."""
    try:
        FAMILIES[backbone].build(backbone)
    except WeightsError as error:
        where = f"trial.network.backbone: {backbone}"
        return {"refused": WeightsError(where, error.fault, error.value, error.remedy).to_json()}
    try:
        path = weights_file(backbone, weights)
        if weights != "imagenet":
            read_checkpoint(path, backbone)
        return {"path": str(path), "digest": digest_file(path, 16)}
    except WeightsError as error:
        return {"error": str(error)} if weights == "imagenet" else {"refused": error.to_json()}


if __name__ == "__main__":
    print(json.dumps(look(*sys.argv[1:])))
