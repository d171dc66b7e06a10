"""A network in a TorchScript file (`torch.jit.save`), as its author exported it."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from vprdist.errors import WeightsError, first_line
from vprdist.network.backbones.one_unit import NetworkOfFile

RULE = "the file must be a network in TorchScript, as torch.jit.save writes it"
EXPORT = "Write it so: torch.jit.save(torch.jit.trace(network.eval(), picture), FILE)."


class TorchScriptFile(NetworkOfFile):
    """The network of a file. TorchScript is a language of its own: nothing of Python is run.

    Raises:
        WeightsError: no such file, or something else in it.
    """

    def open(self) -> nn.Module:
        _check(self.path)
        try:
            with warnings.catch_warnings():  # torch advises its authors to export in another way
                warnings.simplefilter("ignore")
                net: nn.Module = torch.jit.load(str(self.path), map_location="cpu")
        except Exception as error:  # a cut archive, another version's operators
            raise WeightsError(self.path, RULE, first_line(error)[:300], EXPORT) from None
        return net.eval()


def _check(path: Path) -> None:
    """Whether it is a program of TorchScript, told before it is opened by torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise WeightsError(path, RULE, first_line(error), EXPORT) from None
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return
    found = "weights without a network" if "data.pkl" in names else f"an archive of {', '.join(names[:3]) or 'nothing'}"
    remedy = (
        "Weights are `network.weights: FILE`, beside the backbone that they are of." if "data.pkl" in names else EXPORT
    )
    raise WeightsError(path, RULE, found, remedy)
