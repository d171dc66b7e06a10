"""The built-in demo city: how large it is, and which classes tell its places apart."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.spec.base import Spec, marked
from vprdist.spec.conditions import Condition, ConditionsSpec
from vprdist.spec.names import CityNames
from vprdist.spec.vocabulary import CLASSES

NATURAL: dict[str, tuple[float, float, float]] = {
    "road": (0.30, 0.30, 0.20),
    "sidewalk": (0.35, 0.30, 0.20),
    "building": (1.00, 0.00, 0.05),
    "wall": (0.80, 0.00, 0.15),
    "fence": (0.80, 0.00, 0.20),
    "pole": (0.80, 0.00, 0.10),
    "traffic light": (0.50, 0.10, 0.30),
    "traffic sign": (0.90, 0.03, 0.15),
    "vegetation": (0.60, 0.40, 0.20),
    "terrain": (0.40, 0.40, 0.30),
    "sky": (0.00, 1.00, 0.80),
    "person": (0.90, 1.00, 0.20),
    "rider": (0.90, 1.00, 0.20),
    "car": (0.90, 0.95, 0.30),
    "truck": (0.90, 1.00, 0.20),
    "bus": (0.80, 1.00, 0.40),
    "train": (0.60, 1.00, 0.50),
    "motorcycle": (0.90, 0.95, 0.20),
    "bicycle": (0.90, 0.95, 0.20),
}
"""The natural recipe: class -> (identity, churn, repeat)."""


class ClassRecipe(Spec):
    """How one class acts in the world; each in [0, 1], null keeps the natural value.

    Attributes:
        identity: how much its look tells places apart (0: the same look and arrangement everywhere).
        churn: how much of it is drawn afresh for every visit, weather and season included (0: never changes).
        repeat: how often a look of a small common stock stands here and elsewhere, and misleads.
    """

    identity: float | None = Field(
        default=None, ge=0, le=1, description="how much its look tells places apart; null: the natural value"
    )
    churn: float | None = Field(
        default=None, ge=0, le=1, description="share of it that every visit draws afresh; null: the natural value"
    )
    repeat: float | None = Field(
        default=None, ge=0, le=1, description="how often a common look misleads; null: the natural value"
    )


class PlantedSpec(Spec):
    """A truth to be found: which classes tell places apart, and which do not. All others look the same everywhere.

    Streets are alike where they would tell places apart by themselves: no side streets, trees and parked cars equally
    dense, rails and traffic lights everywhere, lots of one width, and each drive takes its pictures at other points
    between two places. It is always a clear summer day, unless the sky is noise: then weather, light and season change
    between visits as they do in the natural city. Outlines are shared: where buildings carry, skies show their roofs.

    Attributes:
        carry: class -> how much its look tells places apart, in (0, 1]; it is the same in all visits.
        mislead: classes that, when a query is taken, look as the next street's do in the database.
        noise: classes that are drawn afresh for every visit.
    """

    carry: dict[str, float] = Field(
        default_factory=dict, description="how much a class' look tells places apart, above 0, at most 1",
        json_schema_extra=marked(key="class", names=CLASSES),
    )  # fmt: skip
    mislead: tuple[str, ...] = Field(
        default=(), description="classes that look as the next street's do when a query is taken",
        json_schema_extra=marked(entries=CLASSES, entry="class"),
    )  # fmt: skip
    noise: tuple[str, ...] = Field(
        default=(), description="classes that are drawn afresh for every visit",
        json_schema_extra=marked(entries=CLASSES, entry="class"),
    )  # fmt: skip

    @model_validator(mode="after")
    def _possible(self) -> PlantedSpec:
        for field, names in (("carry", tuple(self.carry)), ("mislead", self.mislead), ("noise", self.noise)):
            for name in names:
                if name not in CLASSES:
                    raise RuleError(field, "every entry must be one of the 19 classes", name, nearest(name, CLASSES))
        named = [*self.carry, *self.mislead, *self.noise]
        if twice := [name for name in CLASSES if named.count(name) > 1]:
            raise RuleError("carry", "a class can only carry, or mislead, or be noise", twice[0], "Name it once.")
        for name, share in self.carry.items():
            if not 0 < share <= 1:
                raise RuleError("carry", "a class must carry a share above 0, at most 1", share, f"Mend {name}.")
        return self

    def knobs(self, name: str) -> tuple[float, float, float]:
        """(identity, churn, repeat) of a class."""
        if name in self.mislead:
            return 1.0, 0.0, 0.0
        return self.carry.get(name, 0.0), float(name in self.noise), 0.0


class DemoSpec(Spec):
    """A demo city in full: the same spec makes the same bytes on the same machine.

    A city has `streets` streets with `places` places each, `spacing_m` metres apart. Every street is driven
    `database_visits` times for the database and `query_visits` times, later, for the queries; every query drive
    goes on for `strays` pictures that no database picture is near.
    """

    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="another seed is another city")
    height: int = Field(
        default=96, ge=32, le=2048, description="height of a picture", json_schema_extra=marked(unit="pixels")
    )
    width: int = Field(
        default=128, ge=32, le=4096, description="width of a picture, a multiple of 8",
        json_schema_extra=marked(unit="pixels"),
    )  # fmt: skip
    train: CityNames = Field(default=("alder", "birch", "cedar"), description="names of the training cities")
    validate_cities: CityNames = Field(
        default=("dogwood", "elm"), alias="validate", description="names of the validation cities"
    )
    streets: int = Field(default=5, ge=1, le=1000, description="streets a city")
    places: int = Field(default=15, ge=2, le=1000, description="places a street")
    spacing_m: float = Field(default=10.0, ge=5, le=20, description="metres between places")
    database_visits: int = Field(default=1, ge=1, le=20, description="drives a street for the database")
    query_visits: int = Field(default=3, ge=2, le=50, description="later drives a street for the queries")
    strays: int = Field(default=1, ge=0, le=10, description="pictures a query drive without any positive")
    pano_share: float = Field(default=0.04, ge=0, le=0.5, description="share of pictures that are panoramas")
    supersample: int = Field(default=2, ge=1, le=4, description="rays a pixel, in each direction")
    divisor: int = Field(default=2, ge=1, le=16, description="activations are height/divisor x width/divisor")
    recipe: dict[str, ClassRecipe] = Field(
        default_factory=dict, description="how single classes act, where not as in the natural city",
        json_schema_extra=marked(key="class", names=CLASSES),
    )  # fmt: skip
    planted: PlantedSpec | None = Field(default=None, description="a truth for tests of attribution; null: natural")
    conditions: ConditionsSpec | None = Field(
        default=None, description="the same poses under conditions of choice; null: each drive has poses of its own"
    )

    @model_serializer(mode="wrap")
    def _without_later(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Later keys are left out while they are null: cities that were made before them keep their folders."""
        value: dict[str, Any] = plain(self)
        return {key: each for key, each in value.items() if key not in ("planted", "conditions") or each is not None}

    @model_validator(mode="after")
    def _possible(self) -> DemoSpec:
        cities = self.cities
        if not cities:
            raise ValueError("a demo city needs at least one city name in `train` or `validate`")
        if len(set(cities)) != len(cities):
            raise ValueError("a city is named twice")
        for name in cities:
            if not (name.isascii() and name.isalnum() and name == name.lower()):
                raise ValueError(f"a city's name must be lower-case letters and digits; found {name!r}")
        for name in self.recipe:
            if name not in CLASSES:
                raise ValueError(f"`recipe` must name classes; found {name!r}. {nearest(name, CLASSES)}")
        if self.planted is not None and self.recipe:
            raise RuleError(
                "planted", "a planted truth cannot stand beside a recipe of single classes", None, "Delete one of them."
            )
        if self.planted is not None and self.planted.mislead and self.streets < 2:
            fault = "a class misleads to another street of its city, which must have two or more"
            raise RuleError("streets", fault, self.streets, "Raise streets, or delete planted.mislead.")
        if self.conditions is not None:
            self._check_conditions()
        if self.width % 8:
            raise ValueError(f"`width` must be a multiple of 8; found {self.width}")
        if self.height % self.divisor or self.width % self.divisor:
            raise ValueError(f"`divisor` must divide height and width; found {self.divisor}")
        return self

    def _check_conditions(self) -> None:
        if self.planted is not None:
            fault = "conditions cannot stand beside a planted truth, where every day is the same"
            raise RuleError("conditions", fault, None, "Delete one of them.")
        if self.query_visits > self.database_visits:
            fault = "there cannot be more query drives than database drives, which they repeat under conditions"
            remedy = f"Set database_visits: {self.query_visits}, or lower query_visits."
            raise RuleError("conditions", fault, self.database_visits, remedy)

    @property
    def cities(self) -> CityNames:
        """Training cities, then validation cities."""
        return self.train + self.validate_cities

    @property
    def num_pictures(self) -> int:
        """Pictures in all, both sides of every city."""
        drives = self.database_visits * self.places + self.query_visits * (self.places + self.strays)
        return len(self.cities) * self.streets * drives

    def knobs(self, name: str) -> tuple[float, float, float]:
        """(identity, churn, repeat) of a class, natural values filled in."""
        if self.planted is not None:
            return self.planted.knobs(name)
        own = self.recipe.get(name, ClassRecipe())
        chosen = (own.identity, own.churn, own.repeat)
        identity, churn, repeat = (n if c is None else float(c) for c, n in zip(chosen, NATURAL[name], strict=True))
        return identity, churn, repeat

    def condition(self, city: str, side: str) -> Condition:
        """What the drives of one side of a city meet; all null where none is asked for."""
        if self.conditions is None:
            return Condition()
        own = self.conditions.train if city in self.train else None
        chosen = own or self.conditions
        return chosen.query if side == "query" else chosen.database

    def misleads(self, name: str, visit: int | None) -> bool:
        """Whether a class looks like another street's during that visit."""
        return self.planted is not None and name in self.planted.mislead and (visit or 0) >= self.database_visits

    def resolved(self) -> dict[str, Any]:
        """The JSON value of the spec with every recipe filled in: two specs of one city have one value."""
        value = self.model_dump(mode="json", by_alias=True)
        recipe = {name: dict(zip(("identity", "churn", "repeat"), self.knobs(name), strict=True)) for name in CLASSES}
        return {**value, "recipe": recipe}
