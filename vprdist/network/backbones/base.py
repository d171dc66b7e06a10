"""What a backbone is: ordered units that are called one after another."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import ClassVar

from torch import nn

from vprdist.errors import WeightsError


class Backbone(nn.Module):
    """Pictures to features, (B, 3+, H, W) float -> (B, C, h, w) float, in named units.

    A subclass names its units, input side first, as a plain tuple in its body (`units = ("stem", "body")`), has a
    sub-module of each name, and says in `channels` how many channels the last one answers with. The units are called in
    this order, each with what the one before it answered: `forward` is never called. The last unit may answer with a
    pair, features and a class token (B, C). For the input modes that add channels the first unit is an `nn.Conv2d`.
    """

    units: ClassVar[tuple[str, ...]] = ()
    channels: int

    def modules_by_unit(self) -> OrderedDict[str, nn.Module]:
        """The units in order."""
        return OrderedDict((name, self.get_submodule(name)) for name in self.units)

    def find_weights(self) -> Path:
        """The file of the ImageNet weights, fetched once where the family's library does that.

        Raises:
            WeightsError: they cannot be had here; the message says why and what to do.
        """
        name = type(self).__name__
        raise WeightsError(name, "the backbone brings no ImageNet weights", None, "Set trial.network.weights: none.")

    def load_weights(self, path: Path) -> None:
        """Fill the units from that file.

        Raises:
            WeightsError: the file is another network's.
        """
        raise NotImplementedError
