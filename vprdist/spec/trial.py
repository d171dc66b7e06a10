"""A trial: one fully resolved experiment. Its id is the hash of what it is, never of where or how it runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.files import digest_json
from vprdist.spec.base import Spec, not_hashed
from vprdist.spec.demo import DemoSpec
from vprdist.spec.vocabulary import (
    BACKBONE_UNITS,
    CLASS_GROUPS,
    CLASSES,
    BatchNormMode,
    ConvInit,
    InputMode,
    MaskReduce,
    Subtask,
    Weights,
    trained_units,
)

Names = tuple[str, ...]
ImageSize = tuple[Annotated[int, Field(ge=32, le=4096)], Annotated[int, Field(ge=32, le=4096)]]


class DataSpec(Spec):
    """Which places: an MSLS tree and its cities, or the built-in demo city (`root: demo`)."""

    root: str = not_hashed("demo")
    demo: DemoSpec | None = not_hashed(None)
    train: Names = Field(default=(), description="training cities; empty means every one of the demo city's")
    validate_cities: Names = Field(default=(), alias="validate")
    positive_radius_m: float = Field(default=25.0, gt=0)
    fov_radius_m: float = Field(default=50.0, gt=0)
    fov_degrees: float = Field(default=90.0, gt=0, le=180)

    @model_validator(mode="after")
    def _cities(self) -> DataSpec:
        for field, cities in (("train", self.train), ("validate", self.validate_cities)):
            if len(set(cities)) != len(cities):
                raise RuleError(field, "a city is named once", list(cities))
        if both := sorted(set(self.train) & set(self.validate_cities)):
            raise RuleError("validate", "a city to train on cannot validate", both[0], "Take it out of one list.")
        if self.demo is not None and self.root != "demo":
            raise RuleError("demo", "`demo` describes the built-in city", None, "Set `root: demo`, or delete `demo`.")
        return self


class InputSpec(Spec):
    """What the network sees (paper, section III): RGB, RGB times a mask, or RGB with further channels.

    `classes` is a group ("static", "all") or a list of class names; only the mask modes use it.
    """

    mode: InputMode = "rgb"
    classes: str | Names | None = "static"
    mask_reduce: MaskReduce | None = "mean"
    conv1_init: ConvInit | None = "inflate"
    cache: str | None = not_hashed(None)

    @model_validator(mode="after")
    def _classes(self) -> InputSpec:
        named = self.classes
        if isinstance(named, str):
            if named not in CLASS_GROUPS:
                rule = "`classes` is the name of a group or a list of class names"
                raise RuleError("classes", rule, named, nearest(named, CLASS_GROUPS))
        elif named is not None:
            for name in named:
                if name not in CLASSES:
                    raise RuleError("classes", "every entry is one of the 19 classes", name, nearest(name, CLASSES))
            if not named:
                raise RuleError(
                    "classes", "an empty list of classes makes an empty mask", [], "Name a class, or a group."
                )
            if len(set(named)) != len(named):
                raise RuleError("classes", "a class is named once", list(named))
        needed = {"classes": self.uses_mask, "mask_reduce": self.uses_mask, "conv1_init": self.adds_channels}
        for field, is_needed in needed.items():
            if is_needed and getattr(self, field) is None:
                raise RuleError(field, f"mode {self.mode} needs a value here", None, "Delete the key for its default.")
        return self

    @property
    def adds_channels(self) -> bool:
        return self.mode in ("rgb+mask", "rgb+semantics")

    @property
    def class_names(self) -> Names:
        """The chosen classes in trainId order (the order in the file never matters)."""
        chosen = CLASS_GROUPS[self.classes] if isinstance(self.classes, str) else self.classes or ()
        return tuple(name for name in CLASSES if name in chosen)

    @property
    def needs_cache(self) -> bool:
        return self.mode != "rgb"

    @property
    def uses_mask(self) -> bool:
        return self.mode in ("masked", "rgb+mask")

    def resolved(self) -> InputSpec:
        """The same input with every field that the mode ignores null, and classes as a sorted list."""
        return self.model_copy(
            update={
                "classes": self.class_names if self.uses_mask else None,
                "mask_reduce": self.mask_reduce if self.uses_mask else None,
                "conv1_init": self.conv1_init if self.adds_channels else None,
                "cache": self.cache if self.needs_cache else None,
            }
        )


class NetworkSpec(Spec):
    """Backbone, the units that are trained, initial weights, GeM pooling (p learnable)."""

    backbone: str = "resnet50"
    unfreeze: str | Names = "0-2"
    weights: Weights = "imagenet"
    gem_p: float = Field(default=3.0, gt=0)

    @model_validator(mode="after")
    def _known(self) -> NetworkSpec:
        if self.backbone not in BACKBONE_UNITS:
            raise RuleError("backbone", "no such backbone", self.backbone, nearest(self.backbone, BACKBONE_UNITS))
        try:
            trained_units(self.backbone, self.unfreeze)
        except ValueError as error:
            raise RuleError("unfreeze", f"impossible layer set: {error}", self.unfreeze_name) from None
        return self

    @property
    def unfreeze_name(self) -> str:
        return self.unfreeze if isinstance(self.unfreeze, str) else "+".join(self.unfreeze)


class TrainSpec(Spec):
    """GCL training. `steps` optimizer steps of `batch_pairs` pairs, in micro-batches of `micro_pairs`."""

    image_size: ImageSize = Field(default=(480, 640), description="height, width in pixels")
    steps: int = Field(default=16250, ge=0, description="0 evaluates the untrained network")
    batch_pairs: int = Field(default=32, ge=1)
    micro_pairs: int = Field(default=2, ge=1, description="pairs per forward pass on one rank, at most")
    chunk_queries: int = Field(default=10_000, ge=1, description="queries drawn between two drawings of pairs")
    loss: Literal["gcl"] = "gcl"
    margin: float = Field(default=0.5, gt=0)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    lr_drop_pairs: int | None = Field(default=250_000, ge=1, description="divide the rate by 10 after so many pairs")
    batch_norm: BatchNormMode = "reference"

    @model_validator(mode="after")
    def _whole(self) -> TrainSpec:
        if self.batch_pairs % self.micro_pairs:
            raise RuleError("micro_pairs", f"it divides batch_pairs, {self.batch_pairs}", self.micro_pairs)
        return self


class EvaluateSpec(Spec):
    """MSLS rules: panoramas dropped, positives within the radius, one gallery a city."""

    subtask: Subtask = "all"
    gallery: Literal["city"] = "city"
    image_size: ImageSize | None = Field(default=None, description="null: the training size")
    before_training: bool = Field(default=True, description="also evaluate the untrained network, for comparison")


class Digests(Spec):
    """What the trial's inputs are, by content. Filled by `sweep.py` before the trial is hashed."""

    dataset: str
    cache: str | None
    weights: str


class RunSpec(Spec):
    """How a trial runs on its machine. Never hashed."""

    workers: int = Field(default=0, ge=0, description="data loader processes per rank")
    checkpoint_s: float = Field(default=300.0, gt=0, description="seconds between periodic checkpoints")
    log_steps: int = Field(default=5, ge=1)


class TrialSpec(Spec):
    """One experiment. With `digests` set it is fully resolved and has an id."""

    data: DataSpec = DataSpec()
    input: InputSpec = InputSpec()
    network: NetworkSpec = NetworkSpec()
    train: TrainSpec = TrainSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    digests: Digests | None = None
    run: RunSpec = not_hashed(RunSpec())

    def resolved(self, digests: Digests) -> TrialSpec:
        """This trial with null where the mode ignores a field, named units, and its digests."""
        units = trained_units(self.network.backbone, self.network.unfreeze)
        evaluate = self.evaluate.model_copy(update={"image_size": self.evaluate.image_size or self.train.image_size})
        name = self.network.unfreeze
        network = self.network.model_copy(update={"unfreeze": name if isinstance(name, str) else units})
        changes = {
            "input": self.input.resolved(),
            "network": network,
            "evaluate": evaluate,
            "digests": digests,
        }
        return self.model_copy(update=changes)

    @property
    def trial_id(self) -> str:
        """16 hex digits: the same id is the same experiment."""
        assert self.digests is not None, "a trial is hashed after its digests are resolved"
        value = self.hashed()
        # "0-2" and [layer3, layer4] are the same experiment: the id is that of the trained units.
        value["network"]["unfreeze"] = list(trained_units(self.network.backbone, self.network.unfreeze))
        return digest_json(value)

    def to_json(self) -> dict[str, Any]:
        """The whole spec as plain JSON values, aliases as in a sweep file."""
        return self.model_dump(mode="json", by_alias=True)
