"""Which places a trial is about: a data set and its cities."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.spec.base import Names, Spec, hashed_unless, marked, not_hashed
from vprdist.spec.demo import DemoSpec
from vprdist.spec.doors import MSLS, LayoutName
from vprdist.spec.doors.layout import BETWEEN, MIXED
from vprdist.spec.names import CityNames, Name
from vprdist.spec.vocabulary import OFFICIAL_VIEW, Broken, LabelSource


class DataSpec(Spec):
    """Which places: a data set's folder, how it lies there, and its cities; or the built-in demo city (`root: demo`).

    Graded labels are the official ones (`<city>_gt.h5`) where they are there and were made for this field of view, or
    computed of positions and compass angles, or of positions alone, or the data set's own; `labels` may ask for each.
    It is not hashed: the official files' content is, and which cities take distance alone or their truth, as one of the
    digests. Nor are `leave_out` and `broken`: the digest of the cities without these pictures is.
    """

    root: str = not_hashed(
        "demo", description="where the pictures are",
        json_schema_extra=marked(words=("demo",), other="the folder of a data set"),
    )  # fmt: skip
    layout: LayoutName = hashed_unless(MSLS, description="how the pictures lie in `root`")
    demo: DemoSpec | None = not_hashed(None, description="the built-in city in other sizes; null: as it is")
    made_as: DemoSpec | None = not_hashed(
        None, description="the built-in city that lies in `root`", json_schema_extra=marked(in_files=False)
    )
    train: CityNames = Field(default=(), description="training cities; empty: every one of the demo city's")
    validate_cities: CityNames = Field(
        default=(), alias="validate", description="cities to evaluate on; empty: every one of the demo city's"
    )
    shares: dict[Name, Annotated[float, Field(gt=0)]] = hashed_unless(
        {},
        description="how much of training is of each city, or of each data set of the layout mixed: 1 and 3 are a "
        "quarter and three; empty: each query alike",
        json_schema_extra=marked(key="city"),
    )
    positive_radius_m: float = Field(default=25.0, gt=0, description="a database image so near to a query is a hit")
    fov_radius_m: float = Field(default=50.0, gt=0, description="how far a view reaches, in the graded similarity")
    fov_degrees: float = Field(
        default=90.0, ge=1, le=360,
        description="how wide a view is, in the graded similarity; 360: distance alone counts (`labels: distance`)",
    )  # fmt: skip
    labels: LabelSource = not_hashed(
        "auto",
        description="graded labels of the training cities; auto: official where they are there, else computed where "
        "there are compass angles, else of distance alone; truth: what the data set says itself, which auto takes of "
        "cities without positions",
    )
    pack: str | None = not_hashed(
        None, description="a folder of packed pictures (`vprdist data pack`), read in the place of files",
        json_schema_extra=marked(other="the folder of a pack", absent="pictures are read from their files"),
    )  # fmt: skip
    leave_out: str | Names = not_hashed(
        (), description="pictures that take no part: a list of key, city/key or city/side/key, or a file of them",
        json_schema_extra=marked(other="a file with one name a line"),
    )  # fmt: skip
    broken: Broken = not_hashed(
        "refuse",
        description="pictures that are missing, empty or cannot be read; leave_out: they are added to `leave_out`",
    )

    @model_validator(mode="after")
    def _cities(self) -> DataSpec:
        for field, cities in (("train", self.train), ("validate", self.validate_cities)):
            if len(set(cities)) != len(cities):
                raise RuleError(field, "a city is named twice", list(cities))
        if both := sorted(set(self.train) & set(self.validate_cities)):
            raise RuleError("validate", "a city to train on cannot validate", both[0], "Take it out of one list.")
        self._check_sets()
        self._check_shares()
        if self.demo is not None and self.root != "demo":
            raise RuleError(
                "demo",
                "`demo` describes the built-in city, which the root is not",
                None,
                "Set `root: demo`, or delete `demo`.",
            )
        if self.root == "demo" and self.layout != MSLS:
            fault = "the built-in city needs the layout msls"
            raise RuleError("layout", fault, self.layout.name, "Delete the key, or set `root` to your folder.")
        view = (self.fov_radius_m, self.fov_degrees)
        if self.labels == "official" and view != OFFICIAL_VIEW:
            fault = "official labels need a field of view of {:g} m and {:g} degrees".format(*OFFICIAL_VIEW)
            raise RuleError("labels", fault, "{:g} m and {:g} degrees".format(*view), "Use `labels: computed`.")
        return self

    def _check_sets(self) -> None:
        """Every city of the layout mixed is of one of its data sets."""
        if self.layout.name != MIXED:
            return
        known = self.layout.parameters["sets"]
        for field, cities in (("train", self.train), ("validate", self.validate_cities)):
            for place, city in enumerate(cities):
                name, _, own = city.partition(BETWEEN)
                if not own or name not in known:
                    fault = f"a city of the layout {MIXED} must be called by its data set, name{BETWEEN}city"
                    raise RuleError(f"{field}.{place}", fault, city, nearest(name, known))

    def _check_shares(self) -> None:
        """Every training city is of one share, and every share is of some."""
        if not self.shares:
            return
        if not self.train:
            fault = "shares of training need the training cities by name"
            raise RuleError("shares", fault, sorted(self.shares), "Name them: trial.data.train.")
        named = {city: {city, self.layout.set_of(city)} & self.shares.keys() for city in self.train}
        if idle := sorted(self.shares.keys() - set().union(*named.values())):
            known = [*self.train, *dict.fromkeys(filter(None, map(self.layout.set_of, self.train)))]
            raise RuleError("shares", "a share must be of a training city", idle[0], nearest(idle[0], known))
        for city, found in named.items():
            if len(found) != 1:
                fault = f"the training city {city} must be of one share"
                raise RuleError("shares", fault, sorted(found) or None, "Name each city, or its data set, once.")

    @property
    def share_names(self) -> tuple[str, ...]:
        """For each training city the share that it is of; "" where nobody states shares."""
        return tuple(
            next((name for name in (city, self.layout.set_of(city)) if name in self.shares), "") for city in self.train
        )
