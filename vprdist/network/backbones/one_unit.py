"""A network from elsewhere as one unit: what it answers with is looked at, since nobody here wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vprdist.errors import UserError, WeightsError, first_line
from vprdist.network.backbones.base import Backbone

NUM = 2
"""Pictures that it is asked with: with one alone, a network that forgets the batch would pass."""


class Unit(nn.Module):
    """Pictures to what the network answers with: (B, C, h, w), with a class token (B, C) beside it or not; or (B, D).

    Args:
        net: the network; subclasses say in `ask` how it is called.
        answers: features or descriptors.
        title: what messages call it.
    """

    def __init__(self, net: nn.Module, answers: str, title: str) -> None:
        super().__init__()
        self.net, self.answers, self.title = net, answers, title

    def ask(self, image_B3HW: Tensor) -> Any:
        """What the network itself answers."""
        return self.net(image_B3HW)

    def forward(self, image_B3HW: Tensor) -> Any:
        """
        Raises:
            WeightsError: it answers with something else.
        """
        found = self.ask(image_B3HW)
        num = len(image_B3HW)
        if self.answers == "descriptors":
            if isinstance(found, Tensor) and found.dim() == 2 and len(found) == num:
                return found
            remedy = "Does it give features? Write `answers: features` beside its name."
            raise WeightsError(
                self.title, f"the network must answer {num} pictures with ({num}, D)", said(found), remedy
            )
        pair = found if isinstance(found, (tuple, list)) else (found,)
        features, token = [*pair, None][:2] if len(pair) <= 2 else (None, None)
        if isinstance(features, Tensor) and features.dim() == 4 and len(features) == num:
            if token is None:
                return features
            if isinstance(token, Tensor) and token.shape == features.shape[:2]:
                return features, token
        remedy = "Does it give descriptors? Write `answers: descriptors` beside its name."
        fault = f"the network must answer {num} pictures with features ({num}, C, h, w), and beside them a class token"
        raise WeightsError(self.title, f"{fault} ({num}, C) or nothing", said(found), remedy)


class OneUnit(Backbone):
    """A backbone of one unit, `network`, that is made elsewhere.

    Attributes:
        where: what messages call it, for a person to find it.
        mean, std: what its pictures are normalised by.
    """

    units = ("network",)
    network: Unit
    where: str

    @torch.no_grad()
    def measure(self, image_size: tuple[int, int]) -> None:
        training = self.network.training
        self.network.eval()
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randn(NUM, 3, *image_size, generator=generator)
        try:
            found = self.network(pictures)
            self.network(pictures[:1])
        except UserError:
            raise
        except Exception as error:  # it may raise whatever it likes
            height, width = image_size
            fault = f"the network must take pictures of {height}x{width}, in batches of {NUM} and of one"
            near = self.fitting(image_size)
            remedy = f"Set trial.train.image_size and evaluate.image_size to sizes that it takes{near and f': {near}'}."
            raise WeightsError(self.where, fault, _words(error), remedy) from None
        features = found[0] if isinstance(found, tuple) else found
        if not all(each.isfinite().all() for each in (found if isinstance(found, tuple) else (found,))):
            bad = int((~features.isfinite()).sum())
            remedy = "Export or fetch it again; its weights may be broken."
            wrong = f"{bad} of {features.numel()} values that are not"
            raise WeightsError(self.where, "what the network answers with must be finite", wrong, remedy)
        self.channels = int(features.shape[1])
        self.network.train(training)

    def fitting(self, image_size: tuple[int, int]) -> str:
        """Which sizes of pictures it takes that are near to one that it does not take, where that is known."""
        return ""

    def load_weights(self, path: Path) -> None:
        """Nothing is left to fill: such a network comes with its weights."""


class NetworkOfFile(OneUnit):
    """A network that a file holds, program and weights.

    Args:
        file: its path, which messages call it by.
        answers: features or descriptors.
        mean, std: what its pictures are normalised by.

    Raises:
        WeightsError: no such file, or something else in it.
    """

    def __init__(
        self, file: str, answers: str, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.path, self.where = Path(file), file
        self.mean, self.std = mean, std
        if not self.path.is_file():
            raise WeightsError(self.path, "no such file", None, "A path counts from the folder of the sweep file.")
        self.network = Unit(self.open(), answers, file)

    def open(self) -> nn.Module:
        """The network of the file.

        Raises:
            WeightsError: there is something else in it.
        """
        raise NotImplementedError

    def find_weights(self) -> Path:
        return self.path


def said(found: Any) -> str:
    """What a network answered, for a message."""
    if isinstance(found, Tensor):
        return str(tuple(found.shape))
    if isinstance(found, Mapping):
        return f"a mapping of {', '.join(map(str, list(found)[:5]))}"
    if isinstance(found, (tuple, list)):
        return f"{len(found)} answers: {', '.join(map(said, found[:4]))}"
    return type(found).__name__


def _words(error: Exception) -> str:
    """The line that says it: TorchScript's errors begin with a trace of the program, and end with it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if len(lines) > 1 and "TorchScript" in lines[0] else first_line(error)[:300]
