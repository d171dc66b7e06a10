"""The parameters of the layout `frames`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import Names, Spec
from vprdist.spec.names import Name

Frame = Annotated[int, Field(ge=0)]


class FramesParameters(Spec):
    """Traversals of a route; see `data.layouts.frames`."""

    database: Name | None = Field(
        default=None, description="traversal that is searched; null: database, reference, ref, …, or the first by name"
    )
    queries: tuple[Name, ...] = Field(default=(), description="traversals that ask; empty: all others")
    tolerance: Frame | None = Field(
        default=None, description="frames that a positive may be away; null: 10, or 0 beside `truth`"
    )
    truth: Name | None = Field(
        default=None, description="file of the route's folder that says which frames belong together: .npy, .npz, .csv"
    )
    array: str | None = Field(default=None, description="of a `.npz` file of `truth`; null: the only one, or GThard")
    every: int = Field(default=1, ge=1, description="each n-th frame is taken")
    sections: dict[Name, tuple[Frame, Frame]] = Field(
        default={}, description="cities that are parts of a route: [first frame, the one after the last], from 0"
    )
    endings: Names = Field(default=(), description="of the pictures' names; empty: those of jpg, png, …")

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.truth and (self.every > 1 or self.sections):
            name = "every" if self.every > 1 else "sections"
            fault = f"{name} cannot be said beside a file of correspondences (`truth`)"
            raise RuleError(name, fault, None, "Delete one of them; leave_out takes pictures out.")
        if self.array and not self.truth:
            raise RuleError("array", "array without a file of correspondences (`truth`)", self.array, "Name the file.")
        return self
