"""What cache is wanted: handed to the process that makes it, on this machine or on a node."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from vprdist.errors import RuleError
from vprdist.files import digest_json
from vprdist.spec.base import Names, Spec
from vprdist.spec.class_table import CITYSCAPES, settled_table, table_of
from vprdist.spec.doors import MSLS, LayoutName
from vprdist.spec.names import CityNames
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.vocabulary import Compression

SAME_KIND = "the cache there must be of this segmenter, size and compression"
"""The rule that a cache is replaced only on request: it may have taken days to make."""


class CacheOrder(Spec):
    """Activations of some cities of a data set by a segmenter, in a folder of their own; absolute paths.

    `device` is where the network runs: said by whoever orders, since the machine that plans may have no GPU. `pack`,
    where pictures are read from, is no part of the work.
    """

    root: str
    layout: LayoutName = MSLS
    leave_out: Names = ()
    cities: CityNames = Field(min_length=1)
    out: str
    segmenter: SegmenterSpec
    device: Literal["cpu", "cuda"] = "cpu"
    compression: Compression = "none"
    shard_images: int = Field(default=256, ge=1)
    class_table: str | Names = CITYSCAPES
    top_k: int | None = Field(default=None, ge=1)
    pack: str | None = None

    @model_validator(mode="after")
    def _table(self) -> CacheOrder:
        # Frozen for everybody else; this is still the making.
        object.__setattr__(self, "class_table", settled_table(self.class_table))
        if self.top_k is not None and self.top_k > (count := len(table_of(self.class_table).classes)):
            fault = f"the activations stored of each pixel must be 1 to {count}"
            raise RuleError("top_k", fault, self.top_k, "Lower it, or leave it out: all are stored.")
        return self

    @field_validator("cities")
    @classmethod
    def _once(cls, value: CityNames) -> CityNames:
        return tuple(sorted(set(value)))

    @property
    def digest(self) -> str:
        """Names the work: the same order is the same work."""
        value = self.model_dump(mode="json", exclude={"pack"})
        # What came later is left out where it says nothing: arrays that wait in a queue are found by their old names.
        if self.layout == MSLS:
            del value["layout"]
        if not self.leave_out:
            del value["leave_out"]
        for name, usual in (("class_table", CITYSCAPES), ("top_k", None)):
            if value[name] == usual:
                del value[name]
        for name in ("parameters", "digest"):
            if not value["segmenter"][name]:
                del value["segmenter"][name]
        return digest_json(value)

    @property
    def folder(self) -> Path:
        """Where the order and the logs of its tasks lie, beside the shards."""
        return Path(self.out) / "build" / self.digest
