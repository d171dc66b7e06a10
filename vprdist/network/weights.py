"""Which file the initial weights come from, and its digest: `python -m vprdist.network.weights`.

The network comes as JSON on standard input, beside the size of its pictures and whether masks weigh its features. It
runs as a process of its own so that the driver of a sweep, which may live on a login node, never loads torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vprdist.errors import UserError, WeightsError
from vprdist.files import digest_file
from vprdist.machine import answers, keep_stdout_for_answers
from vprdist.network.checkpoints import SHOWN, is_backbones_alone, read_checkpoint
from vprdist.network.parts import Shown
from vprdist.spec.network import NetworkSpec


def weights_file(network: NetworkSpec) -> Path:
    """The file of a network's initial weights: `imagenet`, or the path of a checkpoint.

    Raises:
        WeightsError: it cannot be had here.
    """
    if network.weights == "imagenet":
        found: Path = network.backbone.make().find_weights()
        return found
    path = Path(network.weights)
    if not path.is_file():
        raise WeightsError(path, "no such file of initial weights", None, "Check the path of network.weights.")
    return path


def weights_digest(network: NetworkSpec, path: Path) -> str:
    """16 hex digits of initial weights.

    Args:
        path: what `weights_file` answered.
    """
    return str(network.backbone.make().digest_weights(path)) if network.weights == "imagenet" else digest_file(path, 16)


def look(network: NetworkSpec, shown: Shown = SHOWN) -> dict[str, object]:
    """{"path", "digest"}; {"missing"}, a WeightsError's arguments, where ImageNet weights cannot be had, whose sweep
    may fall back to random ones; {"refused"}, the same, where the backbone cannot be built or the checkpoint is not its
    own."""
    try:
        backbone = network.backbone.make()
    except WeightsError as error:
        return {"refused": said_of(network, error).to_json()}
    except UserError as error:
        return {"refused": error.to_json()}
    try:
        path = weights_file(network)
        if network.weights == "imagenet":
            return {"path": str(path), "digest": backbone.digest_weights(path)}
        if is_backbones_alone(path, network):
            backbone.load_weights(path)
        else:
            read_checkpoint(path, network, shown)
        return {"path": str(path), "digest": digest_file(path, 16)}
    except WeightsError as error:
        # Nobody else knows where they are, or it is the question what this very network sees: no fallback then.
        asked = network.backbone.is_own or network.backbone.fact("elsewhere") or network.weights != "imagenet"
        if network.backbone.fact("elsewhere") and network.weights == "imagenet":
            error = said_of(network, error)
        return {"refused" if asked else "missing": error.to_json()}
    except UserError as error:
        return {"refused": error.to_json()}


def said_of(network: NetworkSpec, error: WeightsError) -> WeightsError:
    """An error of a backbone, with the key that leads there."""
    title, named = network.backbone.title, error.where
    where = f"trial.network.backbone: {named if title in named else title}"
    return WeightsError(where, error.fault, error.value, error.remedy)


if __name__ == "__main__":
    keep_stdout_for_answers()
    asked = json.load(sys.stdin)
    size, masked = asked["shown"]
    found = look(NetworkSpec.model_validate_json(json.dumps(asked["network"])), Shown((size[0], size[1]), masked))
    print(json.dumps(found), file=answers(), flush=True)
