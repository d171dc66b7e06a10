"""Conditions under which the demo city is driven: the same poses, in weather, at a time and in traffic of choice."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from vprdist.spec.base import Spec

Weather: TypeAlias = Literal["clear", "overcast", "rain", "fog", "snow"]
Time: TypeAlias = Literal["day", "dusk", "night"]
MOST_TRAFFIC = 4.0
"""At so many times the usual traffic nearly every slot of the streets is taken."""


class Condition(Spec):
    """What one drive meets. A factor changes only itself: null leaves it as the drive draws it."""

    weather: Weather | None = Field(default=None, description="null: as each drive draws it")
    time: Time | None = Field(default=None, description="null: as each drive draws it")
    traffic: float | None = Field(
        default=None, ge=0, le=MOST_TRAFFIC,
        description="vehicles and people, as many times the usual; 0: none; null: the usual",
    )  # fmt: skip


class SideConditions(Spec):
    """Conditions of the queries and of the database of some cities."""

    query: Condition = Field(default=Condition(), description="what the drives of the queries meet")
    database: Condition = Field(default=Condition(), description="what the drives of the database meet")


class ConditionsSpec(SideConditions):
    """The same poses under other conditions, after IDDA (Alberti et al., RA-L 2020) as SegVPR uses it.

    Query drive k repeats database drive k: its poses, camera, season and traffic are the same, the conditions alone are
    its own. So equal conditions give equal pictures. The semantics do not know weather and time; traffic adds to what
    stands there and moves nothing.
    """

    train: SideConditions | None = Field(
        default=None, description="those of the training cities; null: as the validation cities'"
    )
