"""A model of timm's by its name (extra `timm`): features by timm's own call, whatever form they have there."""

from __future__ import annotations

import difflib
import math
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from vprdist.errors import WeightsError, first_line
from vprdist.network.backbones.one_unit import OneUnit, Unit
from vprdist.network.backbones.state import read_state
from vprdist.network.backbones.timm_parts import Parts
from vprdist.tensors import difference, not_finite

ANSWER_S = 5.0
"""How long a server may be silent."""
INSTALL = "Install it: pip install 'vprdist[timm]'."
RULE = "the weights must be this model's, as timm or torch.save writes its state dict"
HALVES = ("model.safetensors", "pytorch_model.bin")
"""What a model's weights are called in the store of Hugging Face."""


class TimmModel(OneUnit):
    """A model of timm's, randomly initialised. Its pictures are normalised as timm's data configuration says.

    Its stem and its stages or blocks are what `unfreeze: X-Y` counts (`timm_parts`). Position embeddings of a
    transformer are resampled to each picture's grid, as timm does.

    Raises:
        WeightsError: timm is not installed, or has no such model.
    """

    def __init__(self, model: str, answers: str) -> None:
        super().__init__()
        self.name = self.where = model
        net = made(model)
        self.config: Mapping[str, Any] = net.pretrained_cfg
        self.mean, self.std = (tuple(map(float, self.config[name])) for name in ("mean", "std"))
        net.reset_classifier(0)
        self.channels = int(
            net.num_features if answers == "features" else getattr(net, "head_hidden_size", net.num_features)
        )
        self.network = _TimmUnit(net, answers, model)

    def held(self, unfreeze: str | Sequence[str], image_size: tuple[int, int]) -> set[str]:
        from timm.models import group_parameters

        parts = Parts(self.network, image_size, group_parameters)
        return {f"network.net.{name}" for name in parts.held(unfreeze, self.name)}

    def fitting(self, image_size: tuple[int, int]) -> str:
        patch = getattr(getattr(self.network.net, "patch_embed", None), "patch_size", None)
        if not isinstance(patch, tuple) or len(patch) != 2:
            return ""
        around = [
            {each // step * step or step, -(-each // step) * step} for each, step in zip(image_size, patch, strict=True)
        ]
        both = [(height, width) for height in around[0] for width in around[1]]
        if image_size in both:
            return ""
        near = sorted(both, key=lambda size: (abs(size[0] - image_size[0]) + abs(size[1] - image_size[1]), size))
        named = " and ".join(f"[{height}, {width}]" for height, width in near[:2])
        return f"its patches are of {patch[0]}x{patch[1]}; the nearest sizes that fit are {named}"

    def find_weights(self) -> Path:
        repo, url = self.config.get("hf_hub_id"), self.config.get("url")
        name = self.config.get("architecture", self.name)
        tag = self.config.get("tag")
        once = f"import timm; timm.create_model('{name}{f'.{tag}' if tag else ''}', pretrained=True)"
        remedy = f'Fetch them where there is a network: python -c "{once}"; or name a file: network.weights: FILE.'
        if not repo and not url:
            fault = "timm publishes no weights under this name"
            raise WeightsError(self.where, fault, None, "Name a tag that it has, a file, or weights: none.")
        try:
            return _of_store(repo, self.config.get("hf_hub_filename")) if repo else _of_url(str(url))
        except Exception as error:  # no network, a full disk, a name that is gone
            raise WeightsError(
                self.where, "the published weights could not be fetched", first_line(error)[:300], remedy
            ) from None

    def load_weights(self, path: Path) -> None:
        state = _read(path)
        if (found := not_finite(state)) is not None:
            raise WeightsError(path, "weights must be finite", found, "Fetch them again.")
        plain = self.network.net.state_dict()
        if difference(state, plain) is None:
            self.network.net.load_state_dict(state)
            return
        try:  # with a classifier, or in the form in which its authors published it, which timm knows to read
            net = made(self.name, state)
        except RuntimeError:
            found = difference(state, plain)
            raise WeightsError(path, RULE, found, f"Name weights of {self.name}.") from None
        net.reset_classifier(0)
        self.network.net = net


class _TimmUnit(Unit):
    def ask(self, image_B3HW: Tensor) -> Any:
        if self.answers == "descriptors":
            return self.net(image_B3HW)
        height, width = image_B3HW.shape[2:]
        net: Any = self.net
        return grid(net, net.forward_features(image_B3HW), (height, width))


def grid(net: nn.Module, found: Any, size: tuple[int, int]) -> Any:
    """timm's features as (B, C, h, w), with the class token (B, C) beside them where there is one.

    Convolutional networks answer so, some with channels last; transformers with tokens, the patches' in the picture's
    rows behind the others.
    """
    channels = int(net.num_features)  # type: ignore[arg-type]
    if not isinstance(found, Tensor) or found.dim() not in (3, 4):
        return found
    if found.dim() == 4:
        last = found.shape[1] != channels and found.shape[3] == channels
        return found.permute(0, 3, 1, 2).contiguous() if last else found
    before = int(getattr(net, "num_prefix_tokens", 0) or 0)
    patches_BNC = found[:, before:]
    num = patches_BNC.shape[1]
    height = round(math.sqrt(num * size[0] / size[1]))
    if height == 0 or num % height:
        return found
    features = patches_BNC.transpose(1, 2).reshape(len(found), channels, height, num // height)
    return (features, found[:, 0]) if before and getattr(net, "cls_token", None) is not None else features


def made(name: str, state: Mapping[str, Tensor] | None = None) -> Any:
    """A model, random or with a state that timm brings into its own form; transformers take pictures of any size.

    Raises:
        WeightsError: timm is not installed, or has no such model.
        RuntimeError: the state is another model's.
    """
    try:
        import timm
    except ImportError:
        raise WeightsError(name, "this backbone needs the package timm", None, INSTALL) from None
    plain, _, tag = name.partition(".")
    known = timm.list_pretrained(f"{plain}.*") if timm.is_model(plain) else []
    if not timm.is_model(plain) or (tag and name not in known):
        others = known or timm.list_models()
        near = difflib.get_close_matches(name if known else plain, others, n=3, cutoff=0.5) or known[:3]
        hint = f"Did you mean {', '.join(near)}? " if near else ""
        raise WeightsError(
            f"timm:{name}", "timm has no such model", None, f"{hint}All: timm.list_models(pretrained=True)."
        )
    given = {} if state is None else {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(state)}}
    try:
        net = timm.create_model(name, dynamic_img_size=True, **given)
    except TypeError:  # not a transformer of timm's
        net = timm.create_model(name, **given)
    net.pretrained_cfg.pop("state_dict", None)
    return net


def _of_store(repo: str, name: str | None) -> Path:
    """A file of Hugging Face's local store, fetched where it is not there.

    Its library tries for half a minute where there is no network: one look first.
    """
    import huggingface_hub

    names = (name,) if name else HALVES
    for each in names:
        if isinstance(found := huggingface_hub.try_to_load_from_cache(repo, each), str):
            return Path(found)
    socket.create_connection(
        (urlparse(huggingface_hub.constants.ENDPOINT).hostname or "", 443), timeout=ANSWER_S
    ).close()
    return Path(huggingface_hub.hf_hub_download(repo, names[0], etag_timeout=ANSWER_S))


def _of_url(url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(ANSWER_S)  # torch's call has none
        try:
            torch.hub.download_url_to_file(url, str(path))
        finally:
            socket.setdefaulttimeout(before)
    return path


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return read_state(path, "Name a state dict: torch.save(model.state_dict(), FILE).")
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except Exception as error:
        raise WeightsError(path, RULE, first_line(error), "Fetch it again.") from None
