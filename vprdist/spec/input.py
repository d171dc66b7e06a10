"""What the network of a trial sees."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.arms import Arm
from vprdist.spec.base import Names, Spec, hashed_unless, marked, not_hashed
from vprdist.spec.class_table import CITYSCAPES, MOST_CLASSES, WORDS, ClassTable, settled_table, table_of
from vprdist.spec.doors import MaskName
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.vocabulary import (
    CLASS_GROUPS,
    CLASSES,
    Compression,
    ConvInit,
    InputMode,
    MaskAt,
    MaskFill,
    MaskReduce,
    Placebo,
)

NO_MASK = MaskName.of("none")


class InputSpec(Spec):
    """What the network sees (paper, section III): RGB, RGB times a mask, or RGB with further channels.

    `classes` is a group ("static", "all") or a list of class names; only the mask modes use it. `placebo` puts
    another mask in the place of theirs, which says nothing of these classes (see `semantics.placebo`). `mask_at` and
    `mask_fill` are the form of the mask, which mode `masked` alone has: what it hides is filled, or it leaves the
    picture as it is and weighs the pooling. What made the activations is not hashed: their content is, as one of the
    trial's digests.
    """

    mode: InputMode = Field(
        default="rgb",
        description="pictures as they are, times the mask, with the mask or the activations of all classes beside",
    )
    classes: str | Names | None = Field(
        default="static", description="the classes of the mask: a group or a list",
        json_schema_extra=marked(words=CLASS_GROUPS, entries=CLASSES, entry="class"),
    )  # fmt: skip
    mask_reduce: MaskReduce | None = Field(
        default="mean", description="how the classes' activations become one mask; sum in a search of subsets"
    )
    conv1_init: ConvInit | None = Field(
        default="inflate", description="weights of conv1 with further channels: all random, or RGB's own and zero"
    )
    placebo: Placebo = hashed_unless(
        "none",
        description="another mask in its place: random blobs, another picture's, as many other classes, its outline",
    )
    mask_at: MaskAt = hashed_unless(
        "picture", description="mode masked: the mask hides pixels, or weighs the pooling of the features"
    )
    mask_fill: MaskFill = hashed_unless(
        "black",
        description="mode masked, at the picture: what stands where the mask is zero; mean: the colour by which the "
        "network's pictures are normalised (ImageNet's, unless the backbone says another)",
    )
    learnt: MaskName = Field(
        default=NO_MASK, description="masked: the mask is learnt from the activations of all classes"
    )
    cache: str | None = not_hashed(
        None, description="folder of the cached activations; null with a segmenter: one in the run folder"
    )
    class_table: str | Names = hashed_unless(
        CITYSCAPES, description="what the activations are of: its classes' names, in the order of the cache",
        json_schema_extra=marked(words=WORDS, other="a file of names, a cache", entry="class"),
    )  # fmt: skip
    segmenter: SegmenterSpec | None = not_hashed(
        None, description="makes the cache, where it is not made yet", json_schema_extra=marked(own=True)
    )
    compression: Compression = not_hashed("none", description="how a cache that a segmenter makes is compressed")
    top_k: int | None = not_hashed(
        None, ge=1, le=MOST_CLASSES,
        description="activations of each pixel in a cache that a segmenter makes, the largest; null: all of them",
    )  # fmt: skip

    @model_validator(mode="after")
    def _classes(self) -> InputSpec:
        # Frozen for everybody else; this is still the making.
        object.__setattr__(self, "class_table", settled_table(self.class_table))
        named, table = self.classes, self.table
        if self.segmenter is not None and not table.is_default and not self.segmenter.facts.any_table:
            fault = f"{self.segmenter.family} has the 19 classes of Cityscapes, not another table's"
            raise RuleError("class_table", fault, table.words, "Use a transformers network, or a class of your own.")
        if self.top_k is not None and self.top_k > len(table.classes):
            fault = f"of each pixel {len(table.classes)} activations at most can be stored: there are no more classes"
            raise RuleError("top_k", fault, self.top_k, "Lower it, or delete the key: all are stored.")
        if isinstance(named, str):
            if self.uses_mask or table.is_default:
                table.check_group("classes", named)
        elif named is not None:
            for name in named:
                table.check_class("classes", name)
            if not named:
                raise RuleError(
                    "classes",
                    "the list of classes cannot be empty: it would make an empty mask",
                    [],
                    "Name a class, or a group.",
                )
            if len(set(named)) != len(named):
                raise RuleError("classes", "a class is named twice", list(named))
        self._check_learnt()
        needed = {
            "classes": self.uses_mask or self.starts_from_classes,
            "mask_reduce": self.uses_mask,
            "conv1_init": self.adds_channels,
        }
        for field, is_needed in needed.items():
            if is_needed and getattr(self, field) is None:
                raise RuleError(field, f"mode {self.mode} needs a value here", None, "Delete the key for its default.")
        if self.placebo == "classes" and self.uses_mask and self.class_names == table.classes:
            fault = f"with all {len(table.classes)} classes there are no others to draw"
            raise RuleError("placebo", fault, self.placebo, "Use random.")
        return self

    @model_validator(mode="after")
    def _form(self) -> InputSpec:
        if self.mode == "rgb+mask":
            for field, usual in (("mask_at", "picture"), ("mask_fill", "black")):
                if getattr(self, field) != usual:
                    fault = "in mode rgb+mask the mask is a channel beside the picture: it has no other form"
                    raise RuleError(field, fault, getattr(self, field), "Delete the key, or use mode masked.")
        if self.placebo == "outline" and self.uses_mask and not self.has_outline:
            fault = (
                "no outline can be shown: the mask hides nothing of the picture (mode rgb+mask, or mask_at features)"
            )
            raise RuleError("placebo", fault, self.placebo, "Use random, image or classes.")
        return self

    @property
    def at_features(self) -> bool:
        """Whether the mask weighs the pooling, and the picture stays as it is."""
        return self.mode == "masked" and self.mask_at == "features"

    @property
    def form(self) -> str:
        """The form of the mask in mode `masked`, a key of `vocabulary.FORM_WORDS`."""
        return "features" if self.at_features else self.mask_fill

    @property
    def hides(self) -> bool:
        """Whether the mask hides pixels of the picture."""
        return self.mode == "masked" and not self.at_features

    @property
    def has_outline(self) -> bool:
        """Whether there is a placebo `outline`: the mask's shape in one colour, in the place of the picture in it."""
        return self.hides

    def _check_learnt(self) -> None:
        """What a mask that is learnt can be."""
        if self.learnt.name == "none" or self.mode == "rgb":
            return
        if self.mode != "masked":
            fault = f"mode {self.mode} cannot learn a mask: only mode masked can"
            raise RuleError("learnt", fault, self.learnt.title, "Set trial.input.mode: masked, or delete the key.")
        if self.placebo not in ("none", "image"):
            fault = "the placebo of a mask that is learnt must be image: it is given another picture's activations"
            raise RuleError("placebo", fault, self.placebo, "A mask of its own classes has the others.")

    @property
    def learns_mask(self) -> bool:
        """Whether the mask is learnt from the activations of all classes, and not made of chosen ones."""
        return self.mode == "masked" and self.learnt.name != "none"

    @property
    def map_names(self) -> Names:
        """The classes whose activations a mask is learnt from, in their order."""
        return self.table.classes

    @property
    def starts_from_classes(self) -> bool:
        """Whether a mask that is learnt shows the chosen classes alone at the start."""
        return self.learns_mask and self.learnt.parameters.get("start") == "classes"

    @property
    def adds_channels(self) -> bool:
        return self.mode in ("rgb+mask", "rgb+semantics")

    @property
    def table(self) -> ClassTable:
        """The class table."""
        return table_of(self.class_table)

    @property
    def num_added(self) -> int:
        """How many channels the mode adds to the three of RGB."""
        return {"rgb+mask": 1, "rgb+semantics": len(self.table.classes)}.get(self.mode, 0)

    @property
    def class_names(self) -> Names:
        """The chosen classes in the table's order, for the 19 trainId order (the order in the file never matters)."""
        return self.table.named(self.classes)

    @property
    def arm(self) -> Arm:
        """What the mask is made of."""
        return Arm(self.class_names, self.placebo)

    @property
    def needs_cache(self) -> bool:
        return self.mode != "rgb"

    @property
    def uses_mask(self) -> bool:
        """Whether there is a mask of chosen classes, reduced to one."""
        return self.mode in ("masked", "rgb+mask") and not self.learns_mask

    def resolved(self, needs_cache: bool | None = None) -> InputSpec:
        """The same input with every field that the mode ignores null, and classes as a sorted list.

        Args:
            needs_cache: whether the trial reads activations, which training may where the mode does not; None: as the
                mode says.
        """
        needs_cache = self.needs_cache if needs_cache is None else needs_cache
        return self.model_copy(
            update={
                "classes": self.class_names if self.uses_mask or self.starts_from_classes else None,
                "mask_reduce": self.mask_reduce if self.uses_mask else None,
                "conv1_init": self.conv1_init if self.adds_channels else None,
                "mask_at": self.mask_at if self.mode == "masked" else "picture",
                "mask_fill": self.mask_fill if self.hides else "black",
                "placebo": self.placebo if self.uses_mask or self.learns_mask else "none",
                "learnt": self.learnt if self.learns_mask else NO_MASK,
                "cache": self.cache if needs_cache else None,
                "segmenter": self.segmenter if needs_cache else None,
                "class_table": self.class_table if needs_cache else CITYSCAPES,
            }
        )

    def hashed(self) -> dict[str, Any]:
        """As every spec; before masks could be learnt, others were hashed as they still are."""
        out = super().hashed()
        if self.learnt.name == "none":
            del out["learnt"]
        return out
