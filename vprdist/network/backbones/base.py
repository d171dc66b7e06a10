"""What a backbone is: ordered units that are called one after another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from vprdist.errors import WeightsError
from vprdist.files import digest_file
from vprdist.network.stem import IMAGENET_MEAN, IMAGENET_STD


class Backbone(nn.Module):
    """Pictures to features, (B, 3+, H, W) float -> (B, C, h, w) float, in named units.

    A subclass names its units, input side first, as a plain tuple in its body (`units = ("stem", "body")`), has a
    sub-module of each name, and says in `channels` how many channels the last one answers with. The units are called in
    this order, each with what the one before it answered: `forward` is never called. The last unit may answer with a
    pair, features and a class token (B, C). For the input modes that add channels the first unit is an `nn.Conv2d`.

    One that answers with descriptors, (B, D), writes `answers = "descriptors"` in its body; D is in `channels` then.
    `mean` and `std`, of RGB in [0, 1], say how its pictures are normalised.
    """

    units: tuple[str, ...] = ()
    channels: int
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def measure(self, image_size: tuple[int, int]) -> None:
        """Find `channels` where only an answer tells them. Called before the aggregator is made.

        Raises:
            WeightsError: it does not take pictures of this size (height, width), or answers with something else.
        """

    def modules_by_unit(self) -> OrderedDict[str, nn.Module]:
        """The units in order."""
        return OrderedDict((name, self.get_submodule(name)) for name in self.units)

    def held(self, unfreeze: str | Sequence[str], image_size: tuple[int, int]) -> set[str]:
        """What stays as it is within the units that are trained: names of their state, led by the unit's.

        Nothing, but where a unit has parts that its own library knows (fact `parts`): `unfreeze: X-Y` counts these.

        Args:
            image_size: (height, width) of a picture that it takes.

        Raises:
            SweepFileError: there are fewer parts than are to be trained.
        """
        return set()

    def find_weights(self) -> Path:
        """The file of the ImageNet weights, fetched once where the family's library does that.

        Raises:
            WeightsError: they cannot be had here; the message says why and what to do.
        """
        name = type(self).__name__
        raise WeightsError(name, "the backbone brings no ImageNet weights", None, "Set trial.network.weights: none.")

    def digest_weights(self, path: Path) -> str:
        """16 hex digits of what `find_weights` found, or of another file of weights."""
        return digest_file(path, 16)

    def load_weights(self, path: Path) -> None:
        """Fill the units from that file.

        Raises:
            WeightsError: the file is another network's.
        """
        raise NotImplementedError
