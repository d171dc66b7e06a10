"""How a trial is evaluated."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import ImageSize, Spec, hashed_unless, marked, not_hashed
from vprdist.spec.doors import NO_RERANK, RerankName
from vprdist.spec.names import CityNames, Name
from vprdist.spec.vocabulary import SUBTASKS, Gallery, NoPositives, Scope, Storage, Whitening


class SetEvaluation(Spec):
    """What is evaluated otherwise on one data set of the layout `mixed`; null: as the trial says."""

    subtask: Name | None = Field(default=None, description="as evaluate.subtask")
    gallery: Gallery | None = Field(default=None, description="as evaluate.gallery")
    queries: Scope | None = Field(default=None, description="as evaluate.queries")
    database: Scope | None = Field(default=None, description="as evaluate.database")
    no_positives: NoPositives | None = Field(default=None, description="as evaluate.no_positives")
    positive_radius_m: float | None = Field(default=None, gt=0, description="as data.positive_radius_m")

    @property
    def changes(self) -> dict[str, Any]:
        """What differs, of `evaluate`."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"positive_radius_m"})


class EvaluateSpec(Spec):
    """How a trial is evaluated: the MSLS rules, and what is left open by them.

    The queries that count are those of the subtask that have a positive within the radius; `queries: every` asks
    those outside `subtask_index.csv` too (of MSLS' validation cities, some 11,000 instead of 740), `no_positives:
    count` those that nothing can answer. Panoramas are dropped. PCA whitening is learnt on the training cities or on
    the evaluated database itself; the first of `dimensions` is the trial's result, further ones and the raw
    descriptors are variants of it.
    """

    subtask: Name = Field(
        default="all",
        description="MSLS' subtask: summer, winter, old, new, day, night (s2w: from summer to winter); or a condition "
        "of the data set's queries",
        json_schema_extra=marked(words=SUBTASKS, other="a condition of the queries, as `vprdist data info` names them"),
    )
    gallery: Gallery = Field(default="city", description="one gallery a city, or all cities' images in one")
    queries: Scope = hashed_unless("subtask", description="which queries count; every: those outside the subtask too")
    database: Scope = hashed_unless("subtask", description="every: images outside the subtask are searched too")
    no_positives: NoPositives = hashed_unless(
        "drop", description="queries without a positive; count: as misses, as VPR-methods-evaluation does"
    )
    image_size: ImageSize | None = Field(
        default=None, description="height and width of a picture; null: the training size",
        json_schema_extra=marked(unit="pixels"),
    )  # fmt: skip
    before_training: bool = Field(default=True, description="also evaluate the untrained network, for comparison")
    whitening: Whitening = hashed_unless(
        "none", description="PCA of descriptors, learnt on the training cities or here"
    )
    dimensions: tuple[Annotated[int, Field(ge=1)], ...] = hashed_unless(
        (), description="lengths of descriptors after whitening, the result's first; empty: as the network's"
    )
    rerank: RerankName = hashed_unless(NO_RERANK, description="the second stage: orders what was retrieved first anew")
    storage: Storage = hashed_unless("float32", description="the type that descriptors are kept in")
    of_set: dict[Name, SetEvaluation] = hashed_unless(
        {}, description="what is evaluated otherwise on a data set of the layout mixed, by its name",
        json_schema_extra=marked(key="data set"),
    )  # fmt: skip
    predict: CityNames = not_hashed((), description="cities whose ground truth is not there, to write predictions for")

    @model_validator(mode="after")
    def _possible(self) -> EvaluateSpec:
        if self.queries == "every" and self.subtask != "all":
            raise RuleError(
                "queries",
                f"subtask {self.subtask} chooses the queries, nothing else can",
                self.queries,
                "Delete the key.",
            )
        if self.dimensions and self.whitening == "none":
            fault = "only whitening can change the dimensions"
            raise RuleError("dimensions", fault, list(self.dimensions), "Set `whitening: train` or `database`.")
        for field, values in (("dimensions", self.dimensions), ("predict", self.predict)):
            if len(set(values)) != len(values):
                raise RuleError(field, "a value is named twice", list(values))
        return self

    def hashed(self) -> dict[str, Any]:
        """As every spec; what a data set does not change is left out, so that a field added later keeps ids."""
        out = super().hashed()
        if self.of_set:
            out["of_set"] = {
                name: each.model_dump(mode="json", exclude_none=True) for name, each in self.of_set.items()
            }
        return out

    def on(self, name: str) -> EvaluateSpec:
        """How a data set of the layout `mixed` is evaluated.

        Raises:
            ValueError: what it changes cannot stand beside the rest.
        """
        own = self.of_set.get(name)
        if own is None or not own.changes:
            return self
        return EvaluateSpec.model_validate({**dict(self), "of_set": {}, **own.changes})
