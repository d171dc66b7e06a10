"""What segments pictures: which network, with which weights, over which windows. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.spec.base import Spec, not_hashed

Pixels = Annotated[int, Field(ge=32, le=8192)]
PictureSize = tuple[Pixels, Pixels]
StoredSize = tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]]
Precision = Literal["float32", "bfloat16", "float16"]

FAMILIES: tuple[str, ...] = ("deeplabv3plus", "transformers", "litert")
"""The first part of a segmenter's name. semantics/segmenters has one file for each."""
CARRIES_WEIGHTS = {"transformers": "transformers:<name or folder>", "litert": "litert:<file>"}
"""Families whose name says where the weights are."""

MSLS_SIZE = (480, 640)
CELL = 4
"""DeepLabV3+ answers at a quarter of the picture's resolution."""


class SegmenterSpec(Spec):
    """A segmenter as a sweep file names it.

    Pictures are brought to `image_size` (height, width in pixels). They are segmented whole (`resized`), or in
    windows that overlap by a share of themselves, whose probabilities are averaged (`sliding`). `flip` averages
    with the mirrored picture. `size` is the stored (height, width) of the activations; null keeps the network's own,
    a quarter of the picture for most, which holds all that an enlarged one holds.

    Null picture sizes are 480x640, the common size of MSLS, or what a litert network was exported for.
    """

    name: str = Field(description="deeplabv3plus, transformers:<name or folder>, or litert:<file>")
    weights: str | None = not_hashed(None, description="the checkpoint of deeplabv3plus")
    output_stride: Literal[8, 16] | None = Field(default=None, description="of deeplabv3plus; null: 16")
    image_size: PictureSize | None = None
    inference: Literal["resized", "sliding"] = "resized"
    window: PictureSize | None = None
    overlap: float | None = Field(default=None, ge=0, le=0.9, description="share of a window; null: 0.25")
    flip: bool = False
    precision: Precision = Field(default="float32", description="on a GPU; a CPU computes in float32")
    size: StoredSize | None = None

    @model_validator(mode="after")
    def _known(self) -> SegmenterSpec:
        if self.family not in FAMILIES:
            words = ("deeplabv3plus", *CARRIES_WEIGHTS.values())
            raise RuleError("name", "no such segmenter", self.name, nearest(self.name, words))
        if self.family in CARRIES_WEIGHTS:
            form = CARRIES_WEIGHTS[self.family]
            if not self.source:
                raise RuleError("name", f"the name must be {form}", self.name, "Say where the network is.")
            if self.weights is not None:
                fault = f"{self.family} must take its weights from its name, {form}"
                raise RuleError("weights", fault, self.weights, "Delete the key.")
        elif ":" in self.name:
            raise RuleError("name", f"{self.family} has no part after a colon", self.name, "Set `weights: PATH`.")
        elif self.weights is None:
            remedy = "Name a Cityscapes checkpoint; random weights would make worthless activations."
            raise RuleError("weights", f"{self.family} needs a checkpoint", None, remedy)
        if self.output_stride is not None and self.family != "deeplabv3plus":
            raise RuleError(
                "output_stride", "only deeplabv3plus can have this choice", self.output_stride, "Delete it."
            )
        if self.precision != "float32" and self.family == "litert":
            fault = "an exported network cannot compute in another precision than it was exported with"
            raise RuleError("precision", fault, self.precision, "Set float32, or delete the key.")
        return self

    @model_validator(mode="after")
    def _windows(self) -> SegmenterSpec:
        if self.inference == "resized":
            for field in ("window", "overlap"):
                if (value := getattr(self, field)) is not None:
                    raise RuleError(
                        field, "only sliding inference can have windows", value, "Set `inference: sliding`."
                    )
            if self.family == "litert" and self.image_size is not None:
                fault = "an exported network cannot have another picture size than its own, which `resized` uses"
                raise RuleError("image_size", fault, list(self.image_size), "Delete it, or set `inference: sliding`.")
            return self
        if self.window is None:
            raise RuleError("window", "sliding inference needs a window", None, "Set [height, width] in pixels.")
        height, width = self.image_size or MSLS_SIZE
        if self.window[0] > height or self.window[1] > width:
            fault = f"the window must fit into the picture, {height} x {width}"
            raise RuleError("window", fault, list(self.window), "Make it smaller, or image_size larger.")
        if self.family == "deeplabv3plus":
            for field, value in (("window", self.window), ("image_size", (height, width))):
                if value[0] % CELL or value[1] % CELL:
                    fault = f"windows of deeplabv3plus must lie on its grid of {CELL} pixels"
                    raise RuleError(field, fault, list(value), f"Choose multiples of {CELL}.")
        return self

    @property
    def family(self) -> str:
        """The part of the name before the colon: which file of semantics/segmenters builds it."""
        return self.name.partition(":")[0]

    @property
    def source(self) -> str:
        """Where the weights are: a path, or the name of a model."""
        return self.name.partition(":")[2] if self.family in CARRIES_WEIGHTS else self.weights or ""

    @property
    def stride(self) -> int | None:
        """The output stride of deeplabv3plus; None for the others."""
        return (self.output_stride or 16) if self.family == "deeplabv3plus" else None

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """The (height, width) that pictures are brought to; None: what the network was exported for."""
        if self.family == "litert" and self.inference == "resized":
            return None
        return self.image_size or MSLS_SIZE

    @property
    def share(self) -> float | None:
        """The overlap of neighbouring windows as a share of a window; None without windows."""
        return (0.25 if self.overlap is None else self.overlap) if self.inference == "sliding" else None

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """The (height, width) of the activations where the spec alone decides it; None: the network decides."""
        if self.size is None and self.family == "deeplabv3plus":
            height, width = self.image_size or MSLS_SIZE
            return -(-height // CELL), -(-width // CELL)
        return self.size

    def absolute(self) -> SegmenterSpec:
        """The same with absolute paths, as a job in another working folder must see them. Names of models stay."""
        if self.weights is not None:
            return self.model_copy(update={"weights": str(Path(self.weights).expanduser().resolve())})
        path = Path(self.source).expanduser()
        return self.model_copy(update={"name": f"{self.family}:{path.resolve()}"}) if path.exists() else self

    def effective_precision(self, device: str) -> Precision:
        """What is computed in on "cpu" or "cuda…": a CPU has no use for the short types."""
        return "float32" if device == "cpu" else self.precision

    def hashed(self) -> dict[str, Any]:
        """All that decides the output but the weights: nulls filled in, and no paths."""
        return {
            "network": self.family,
            "output_stride": self.stride,
            "image_size": None if self.picture_size is None else list(self.picture_size),
            "window": None if self.window is None else list(self.window),
            "overlap": self.share,
            "flip": self.flip,
            "precision": self.precision,
            "size": None if self.size is None else list(self.size),
        }

    def identity(self, weights: str, device: str) -> dict[str, Any]:
        """The JSON value that identifies what the segmenter computes.

        Args:
            weights: the digest of the weights (`semantics.segmenters.weights.weights_digest`).
            device: where it runs; a CPU ignores a short precision, and that makes other activations.
        """
        return {**self.hashed(), "precision": self.effective_precision(device), "weights": weights}

    def words(self, weights: str, device: str) -> str:
        """The segmenter for people: network, weights, inference."""
        parts = [self.family if self.family != "deeplabv3plus" else f"{self.family} resnet101 os{self.stride}"]
        parts.append(f"weights {weights}")
        if self.picture_size is not None:
            parts.append("pictures {}x{}".format(*self.picture_size))
        if self.window is not None:
            parts.append("windows {}x{}".format(*self.window) + f" overlapping {self.share:.0%}")
        if self.flip:
            parts.append("mirrored as well")
        precision = self.effective_precision(device)
        asked = "" if precision == self.precision else f" (a CPU has no {self.precision})"
        return ", ".join([*parts, f"{precision}{asked}"])
