"""What a network finds before it is trained, measured once by trials that start from the same weights.

Trials that differ in what they train, in loss or in learning rate begin as one network. Its values are kept in the run
folder under a digest of the very weights and of all that an evaluation depends on, code, device and threads among it:
whoever takes them has what it would have measured, to the bit.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vprdist.distributed.ranks import Ranks, device_name
from vprdist.files import digest_json, read_json, write_json
from vprdist.source import running_source
from vprdist.spec.trial import TrialSpec

VERSION = 1
"""What is written, and how."""


class KeptValues:
    """The values of one untrained network, where some trial of this run folder has measured them.

    Args:
        trial: as it is judged, and resolved.
        state: all of the network at its start.
        ranks: those that measure.
        runs: the run folder.
    """

    def __init__(self, trial: TrialSpec, state: Mapping[str, Tensor], ranks: Ranks, runs: Path) -> None:
        source = running_source()
        self._trial_id = trial.trial_id
        self._path: Path | None = None
        if source is not None:  # code that nobody knows may be any code
            what = [VERSION, _asked_of(trial), state_digest(state), source.digest, *_computed_by(ranks)]
            self._path = runs / "data" / "untrained" / f"{digest_json(what)}.json"

    def read(self) -> dict[str, float] | None:
        """The values; None where there are none, or none that can be read."""
        if self._path is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            told = read_json(self._path)
            values = told.get("values") if isinstance(told, dict) else None
            if isinstance(values, dict) and values and all(isinstance(value, float) for value in values.values()):
                return values
        return None

    def write(self, values: Mapping[str, float]) -> None:
        """For those who come later. Where nothing can be written they measure themselves."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                write_json(self._path, {"values": dict(values), "trial": self._trial_id})


def _asked_of(trial: TrialSpec) -> list[Any]:
    """What an evaluation depends on, but for the network's state; how it is to be trained is no part of it."""
    assert trial.digests is not None
    network = {key: value for key, value in trial.network.hashed().items() if key != "unfreeze"}
    train = trial.train
    arms = None if train.arms is None else train.arms.model_dump(mode="json")
    data, evaluate = trial.data.model_dump(mode="json"), trial.evaluate.model_dump(mode="json")
    return [
        trial.input.hashed(),
        network,
        trial.digests.hashed(),
        data,
        evaluate,
        train.image_size,
        train.precision,
        arms,
        trial.seed,
    ]


def _computed_by(ranks: Ranks) -> list[Any]:
    """What else bits hang on."""
    return [torch.__version__, device_name(ranks.device), ranks.world_size, torch.get_num_threads()]


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of a network's state."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
