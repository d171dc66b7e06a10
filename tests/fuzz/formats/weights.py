"""Files of weights: checkpoints to start from, a trial's own, backbones', segmenters'."""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
import struct
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.fuzz.format import Format
from vprdist.network.backbones.state import fill_units, read_state
from vprdist.semantics.segmenters.huggingface import read_pixels
from vprdist.tensors import difference, find_state, load_tensors, no_state, not_finite
from vprdist.training.checkpoint import fill, load_checkpoint, read_progress, save_checkpoint

OBJECTS = (b"os system", b"builtins eval", b"builtins bytearray", b"torch ByteStorage", b"torch.nn.modules ReLU",
           b"torch._utils _rebuild_sparse_tensor", b"collections Counter", b"numpy ndarray", b"torch load")  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def checkpoint() -> tuple[nn.Module, torch.optim.Optimizer]:
    made = network()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1, momentum=0.9)
    return made, optimizer


def make(folder: Path) -> None:
    made, optimizer = checkpoint()
    made(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = made.state_dict()
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=0.1), "epoch": 3}, folder / "new.pth")
    torch.save({"model": state, "epoch": 3}, folder / "old.pth", _use_new_zipfile_serialization=False)
    progress = {"step": 3, "train_s": 1.5, "last_loss": 0.5, "evaluated": 0}
    states = copy.deepcopy({"network": state, "optimizer": optimizer.state_dict()})
    save_checkpoint(folder / "checkpoint", {"trial_id": "t", **states, "progress": progress})
    pixels = {"rescale_factor": 1 / 255, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7]}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))


def pickled(rng: random.Random, data: bytes) -> bytes:
    """Another object, or another number, where the pickle inside names one."""
    names = list(re.finditer(rb"c(torch|argparse|collections)[\w.]*\n\w+\n", data))
    if names and rng.random() < 0.5:
        found = rng.choice(names)
        other = b"c" + rng.choice(OBJECTS).replace(b" ", b"\n") + b"\n"
        # An archive keeps the lengths of its members: the name is filled up.
        other = other[:-1].ljust(len(found[0]) - 1, b"x")[: len(found[0]) - 1] + b"\n"
        return data[: found.start()] + other + data[found.end() :]
    numbers = list(re.finditer(rb"[KMJ]", data[:4000])) or [re.match(rb"", data)]
    at = rng.choice(numbers)
    assert at is not None
    new = struct.pack("<i", rng.choice((0, -1, 2**31 - 1, 1 << 20)))[: {b"K": 1, b"M": 2, b"J": 4}.get(at[0], 0)]
    return data[: at.end()] + new + data[at.end() + len(new) :]


def values(state: Any) -> object:
    return {key: value.tolist() for key, value in state.items()}


def new(folder: Path) -> object:
    return _units(folder / "new.pth")


def old(folder: Path) -> object:
    return _units(folder / "old.pth")


def _units(path: Path) -> object:
    """As a backbone, and as a checkpoint to start from."""
    made = network()
    loaded = load_tensors(path, "it must be a checkpoint", "Name another.")
    if (state := find_state(loaded)) is None:
        raise no_state(path, "it must be a checkpoint", loaded, "Name another.")
    if difference(state, made.state_dict()) is None:
        not_finite(state)
    fill_units(made._modules, read_state(path, "Again."), path, "Again.")  # type: ignore[arg-type]
    return values(made.state_dict())


def own(folder: Path) -> object:
    made, optimizer = checkpoint()
    if (state := load_checkpoint(folder / "checkpoint", "t")) is None:
        return None
    step = read_progress(state, folder / "checkpoint").step
    fill(made, optimizer, state, folder / "checkpoint")
    made(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return step, values(made.state_dict())


FORMATS = [
    Format("weights/new.pth", make, "new.pth", new, mutations=(pickled, pickled)),
    Format("weights/old.pth", make, "old.pth", old, mutations=(pickled, pickled)),
    Format("weights/own checkpoint", make, "checkpoint/last.pt", own, mutations=(pickled,)),
    Format("weights/pixels.json", make, "preprocessor_config.json", read_pixels, share=0.5),
]
