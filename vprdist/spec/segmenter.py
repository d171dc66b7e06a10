"""What segments pictures: which network, with which weights, over which windows. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.files import at_home
from vprdist.spec.base import Spec, marked, not_hashed
from vprdist.spec.own_code import FORMS, checked_parameters, class_name, is_own, read_own, settled
from vprdist.spec.vocabulary import Grid

Pixels = Annotated[int, Field(ge=32, le=8192)]
PictureSize = tuple[Pixels, Pixels]
StoredSize = tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]]
Precision = Literal["float32", "bfloat16", "float16"]

MSLS_SIZE = (480, 640)
CELL = 4
"""DeepLabV3+ answers at a quarter of the picture's resolution."""


@dataclass(frozen=True)
class Family:
    """Segmenters of one kind: what must be known of them before torch loads.

    Attributes:
        module: has `open_network(spec: SegmenterSpec, device: str) -> Segmenter`.
        form: the form of a name that says where the weights are; empty: `weights` names them.
        strided: `output_stride` is a choice.
        cell: it answers with one place for so many pixels a side; None: the network decides.
        exported: it runs on the CPU, in the precision and at the picture size that it was exported with.
        is_folder: its weights are a folder, or the name of a model.
        any_table: it may have other classes than the 19.
        grid: how its answers lie on the picture; None: the network itself says it, once it is open.
    """

    module: str
    form: str = ""
    strided: bool = False
    cell: int | None = None
    exported: bool = False
    is_folder: bool = False
    any_table: bool = False
    grid: Grid | None = "cells"


FAMILIES: dict[str, Family] = {
    "deeplabv3plus": Family("vprdist.semantics.segmenters.deeplabv3plus", strided=True, cell=CELL),
    "transformers": Family(
        "vprdist.semantics.segmenters.huggingface", "transformers:<name or folder>", is_folder=True, any_table=True
    ),
    "litert": Family("vprdist.semantics.segmenters.litert", "litert:<file>", exported=True, grid=None),
}
"""The built-in segmenters, by the first part of their names. To add one: its file, and a line here."""
OWN = Family("vprdist.semantics.segmenters.own", any_table=True, grid=None)
"""A user's own class."""


class SegmenterSpec(Spec):
    """A segmenter as a sweep file names it.

    Pictures are brought to `image_size` (height, width in pixels). They are segmented whole (`resized`), or in
    windows that overlap by a share of themselves, whose probabilities are averaged (`sliding`). `flip` averages
    with the mirrored picture. `size` is the stored (height, width) of the activations; null keeps the network's own,
    a quarter of the picture for most, which holds all that an enlarged one holds.

    Null picture sizes are 480x640, the common size of MSLS, or what a litert network was exported for.
    """

    name: str = Field(
        description="which network segments",
        json_schema_extra=marked(
            words=(name for name, family in FAMILIES.items() if not family.form),
            other=" | ".join([*filter(None, (family.form for family in FAMILIES.values())), *FORMS.split(" or ")]),
        ),
    )
    weights: str | None = not_hashed(None, description="path of the checkpoint, where the name does not say it")
    output_stride: Literal[8, 16] | None = Field(
        default=None,
        description="pixels a cell inside deeplabv3plus; null: 16",
        json_schema_extra=marked(unit="pixels"),
    )
    image_size: PictureSize | None = Field(
        default=None, description="height and width that pictures are brought to; null: 480x640, or litert's own",
        json_schema_extra=marked(unit="pixels"),
    )  # fmt: skip
    inference: Literal["resized", "sliding"] = Field(
        default="resized", description="pictures are segmented whole, or in windows whose results are averaged"
    )
    window: PictureSize | None = Field(
        default=None, description="height and width of a window of `sliding`", json_schema_extra=marked(unit="pixels")
    )
    overlap: float | None = Field(
        default=None, ge=0, le=0.9, description="share of a window that the next one covers too; null: 0.25"
    )
    flip: bool = Field(default=False, description="average with the mirrored picture")
    precision: Precision = Field(default="float32", description="type of floats on a GPU; a CPU computes in float32")
    size: StoredSize | None = Field(
        default=None, description="height and width of the stored activations; null: the network's own",
        json_schema_extra=marked(unit="pixels"),
    )  # fmt: skip
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="those of your own class; written beside its name",
        json_schema_extra=marked(in_files=False),
    )  # fmt: skip
    digest: str | None = not_hashed(
        None, description="digest of your own class's file, when the sweep was read",
        json_schema_extra=marked(in_files=False),
    )  # fmt: skip

    @model_validator(mode="after")
    def _own(self) -> SegmenterSpec:
        if not self.is_own:
            if self.parameters:
                fault = f"{self.family} has no such parameter"
                raise RuleError("name", fault, next(iter(self.parameters)), "Delete the key.")
        elif self.digest is None:  # as a sweep file has it; a trial's own file was read so before
            own = read_own(self.name)
            given = self.parameters | ({"weights": self.weights} if self.weights is not None else {})
            chosen = checked_parameters(own, given, ("device",))
            chosen.pop("weights", None)
            # Frozen for everybody else; this is still the making.
            object.__setattr__(self, "parameters", chosen)
            object.__setattr__(self, "digest", own.digest)
        return self

    @model_validator(mode="after")
    def _known(self) -> SegmenterSpec:
        if self.is_own:
            return self
        if self.family not in FAMILIES:
            words = [family.form or name for name, family in FAMILIES.items()]
            raise RuleError("name", "no such segmenter", self.name, f"{nearest(self.name, words)} Your own: {FORMS}.")
        if form := self.facts.form:
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
        if self.output_stride is not None and not self.facts.strided:
            raise RuleError(
                "output_stride", "only deeplabv3plus can have this choice", self.output_stride, "Delete it."
            )
        if self.precision != "float32" and self.facts.exported:
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
            if self.facts.exported and self.image_size is not None:
                fault = "an exported network cannot have another picture size than its own, which `resized` uses"
                raise RuleError("image_size", fault, list(self.image_size), "Delete it, or set `inference: sliding`.")
            return self
        if self.window is None:
            raise RuleError("window", "sliding inference needs a window", None, "Set [height, width] in pixels.")
        height, width = self.image_size or MSLS_SIZE
        if self.window[0] > height or self.window[1] > width:
            fault = f"the window must fit into the picture, {height} x {width}"
            raise RuleError("window", fault, list(self.window), "Make it smaller, or image_size larger.")
        if cell := self.facts.cell:
            for field, value in (("window", self.window), ("image_size", (height, width))):
                if value[0] % cell or value[1] % cell:
                    fault = f"windows of {self.family} must lie on its grid of {cell} pixels"
                    raise RuleError(field, fault, list(value), f"Choose multiples of {cell}.")
        return self

    @property
    def is_own(self) -> bool:
        """Whether it is a class of a user's own."""
        return self.name.partition(":")[0] not in FAMILIES and is_own(self.name)

    @property
    def family(self) -> str:
        """The part of the name before the colon; the name of a user's own class."""
        return f"own:{class_name(self.name)}" if self.is_own else self.name.partition(":")[0]

    @property
    def facts(self) -> Family:
        """What is known of its kind."""
        return OWN if self.is_own else FAMILIES[self.family]

    @property
    def source(self) -> str:
        """Where the weights are: a path, or the name of a model."""
        return self.name.partition(":")[2] if self.facts.form else self.weights or ""

    @property
    def stride(self) -> int | None:
        """The output stride of deeplabv3plus; None for the others."""
        return (self.output_stride or 16) if self.facts.strided else None

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """The (height, width) that pictures are brought to; None: what the network was exported for."""
        if self.facts.exported and self.inference == "resized":
            return None
        return self.image_size or MSLS_SIZE

    @property
    def share(self) -> float | None:
        """The overlap of neighbouring windows as a share of a window; None without windows."""
        return (0.25 if self.overlap is None else self.overlap) if self.inference == "sliding" else None

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """The (height, width) of the activations where the spec alone decides it; None: the network decides."""
        if self.size is None and (cell := self.facts.cell):
            height, width = self.image_size or MSLS_SIZE
            return -(-height // cell), -(-width // cell)
        return self.size

    def absolute(self) -> SegmenterSpec:
        """The same with absolute paths, as a job in another working folder must see them. Names of models stay."""
        if self.weights is not None or self.is_own:
            weights = self.weights and str(at_home(self.weights).resolve())
            return self.model_copy(update={"weights": weights, "name": settled(self.name, Path.cwd())})
        path = at_home(self.source)
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
            **({"parameters": self.parameters} if self.is_own else {}),
            # Before an exported network was asked for its grid, its answers were taken for cells.
            **({"grid": "as exported"} if self.facts.exported else {}),
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
        parts = [f"{self.family} resnet101 os{self.stride}" if self.facts.strided else self.family]
        parts += [f"{name} {value}" for name, value in self.parameters.items()]
        parts.append(f"weights {weights}")
        if self.picture_size is not None:
            parts.append("pictures {}x{}".format(*self.picture_size))
        if self.window is not None:
            parts.append("windows {}x{}".format(*self.window) + f" overlapping {self.share:.0%}")
        if self.flip:
            parts.append("mirrored as well")
        if self.facts.exported:
            parts.append("grid as exported")
        precision = self.effective_precision(device)
        asked = "" if precision == self.precision else f" (a CPU has no {self.precision})"
        return ", ".join([*parts, f"{precision}{asked}"])


def written_segmenter(value: Any, folder: Path) -> Any:
    """What a sweep file says of a segmenter, as `SegmenterSpec` has it.

    A word is its name; the parameters of a user's own class stand beside its name in the file.

    Args:
        folder: from which a relative path of a user's own file counts.
    """
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or not isinstance(name := value.get("name"), str):
        return value
    if name.partition(":")[0] in FAMILIES or not is_own(name):
        return value
    known = {key: each for key, each in value.items() if key in SegmenterSpec.model_fields}
    more = {key: each for key, each in value.items() if key not in known}
    if more:  # another value of a parameter: the class is asked anew
        known.pop("digest", None)
    return {**known, "name": settled(name, folder), "parameters": {**known.get("parameters", {}), **more}}
