"""What attention is."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from torch import Tensor, nn

Answer: TypeAlias = Tensor | tuple[Tensor, dict[str, Tensor]]
"""What attention answers, alone or with what it adds to the loss of each picture, (B,), by name."""
Start = Literal["identity", "published"]
"""Where attention begins: it changes nothing, so that pretrained weights are kept; or as its authors begin."""


class Attention(nn.Module):
    """Features to features of the same shape, (B, C, h, w) -> (B, C, h, w), behind a unit of the backbone.

    A subclass is made once for each unit that it stands behind, with `channels` (C) and its own parameters. It need not
    inherit from here. It always trains, also behind frozen units. In the body of the class it may state, plainly:

    - `answers = "factor"`: it answers with a factor of each place, (B, 1, h, w), which the network multiplies into all
      features that are pooled, of every scale, after whatever divides them by their length. What the backbone's next
      unit is given stays as it is.
    - `activations = "training"`: its training needs those of all classes, from the cache. What it is taught through,
      and evaluation never calls, is a sub-module `taught`: a checkpoint of another table starts it anew.
    - `asks = ("classes", "last_channels")`: it is also made with the names of these classes in their order (K), and
      with how many channels the backbone's last unit answers with.

    Its BatchNorm, where it has any, follows the trial: `batch_norm: frozen` keeps it at the statistics that it begins
    with, 0 and 1, so that it scales and shifts alone; `sync` takes those of all ranks' pictures; `reference` those of
    each side's.

    Attributes:
        logits: the layers that answer with its logits, by which the contract of attention measures whether it matters.
    """

    logits: ClassVar[tuple[str, ...]] = ()

    def forward(self, features_BChw: Tensor, **more: Any) -> Answer:
        """(B, C, h, w) features, or (B, 1, h, w) of a factor; beside it may stand what is added to the loss.

        The losses of pictures are weighed by it, and are minimised as the mean over all pictures of a step; each is
        logged as `loss/NAME`.

        Args:
            more: what it may use and may ignore: `extra` (B, K, H, W), what the input mode adds (a mask, or activations
                of classes) in [0, 1] at its own size, as cells of the picture, or None where it adds nothing; where it
                is taught, `activations` (B, K, H, W), those of all classes likewise, None in evaluation; of a factor,
                `last`, what the backbone's last unit answered, (B, last_channels, h, w).
        """
        raise NotImplementedError


def reduced(channels: int, reduction: int) -> int:
    """The width of a bottleneck, at least one channel."""
    return max(1, channels // reduction)
