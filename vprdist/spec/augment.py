"""Augmentations: how training pictures are changed before a network sees them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import Spec, marked

Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(ge=0.1, le=10)]
STRONGEST = 30
"""RandAugment's magnitudes are counted from 0 to here."""


class AugmentSpec(Spec):
    """Every training picture is cropped, flipped and changed by RandAugment, anew each time that it comes.

    What moves its pixels moves its mask or activations as well; what changes its colours leaves them alone. Both sides
    of a pair are drawn apart, and their graded similarity stays.

    Attributes:
        crop_scale: torchvision's random resized crop, Szegedy et al. (arXiv 1409.4842), section 6.
        num_ops, magnitude: RandAugment's N and M, Cubuk et al. (arXiv 1909.13719), section 3.
    """

    crop_scale: tuple[Share, Share] = Field(
        default=(0.5, 1.0), description="least and most of a picture's area that a random resized crop keeps"
    )
    crop_ratio: tuple[Ratio, Ratio] = Field(
        default=(0.75, 4 / 3), description="least and most of a crop's width by height, as a multiple of the picture's"
    )
    flip: float = Field(default=0.5, ge=0, le=1, description="how often a picture is mirrored, left for right")
    num_ops: int = Field(default=2, ge=0, le=10, description="RandAugment's operations a picture; 0: none")
    magnitude: float = Field(
        default=9.0, ge=0, le=STRONGEST, description="how strong RandAugment's operations are",
        json_schema_extra=marked(unit=f"of {STRONGEST}"),
    )  # fmt: skip

    @model_validator(mode="after")
    def _ordered(self) -> AugmentSpec:
        for name in ("crop_scale", "crop_ratio"):
            least, most = getattr(self, name)
            if least > most:
                raise RuleError(
                    name, "the least must not be above the most", [least, most], f"Write [{most}, {least}]."
                )
        return self
