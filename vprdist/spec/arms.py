"""Arms: what a mask may be made of. One network can learn to see under all of them, and be evaluated under each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import Names, Spec, hashed_unless, marked
from vprdist.spec.class_table import CITYSCAPES, ClassTable, settled_table, table_of
from vprdist.spec.vocabulary import CLASSES, Placebo

Control = Literal["random", "image", "classes", "outline"]
"""A placebo by name; see `semantics.placebo`."""
MOST_PLAYERS = 62


@dataclass(frozen=True)
class Arm:
    """The classes of a mask, in trainId order, and the placebo in its place. Without classes nothing is shown."""

    classes: Names
    placebo: Placebo = "none"


class ArmsSpec(Spec):
    """One network for all subsets: every training step shows its pictures through an arm that is drawn for it.

    A step's subset has each size equally often, and every subset of a size equally often: Shapley's value weighs sizes
    so. With `placebos` every other step shows one of them in the place of the subset's own mask, each equally often:
    a network that never saw such masks would do worse under them for that reason alone.

    Attributes:
        players: what comes and goes together: the classes of each player.
    """

    players: tuple[Names, ...] = Field(
        description="what comes and goes together: the classes of each player",
        json_schema_extra=marked(entries=CLASSES, entry="class"),
    )
    placebos: tuple[Control, ...] = Field(default=(), description="every other step shows one of these instead")
    class_table: str | Names = hashed_unless(
        CITYSCAPES, description="that of the trial's input, which fills it in", json_schema_extra=marked(in_files=False)
    )

    @model_validator(mode="after")
    def _possible(self) -> ArmsSpec:
        # Frozen for everybody else; this is still the making.
        object.__setattr__(self, "class_table", settled_table(self.class_table))
        named = [name for classes in self.players for name in classes]
        for name in named:
            self.table.check_class("players", name)
            if named.count(name) > 1:
                raise RuleError("players", "a class is named twice", name, "It can be of one player only.")
        if len(self.players) < 2 or not all(self.players):
            raise RuleError(
                "players", "there must be two players or more, each of a class", [list(p) for p in self.players]
            )
        check_players(len(self.players), "players")
        check_placebos(self.placebos, self.class_names, self.table)
        return self

    @property
    def table(self) -> ClassTable:
        """The class table."""
        return table_of(self.class_table)

    @property
    def class_names(self) -> Names:
        """The classes of all players, in the table's order."""
        return self.classes_of((1 << len(self.players)) - 1)

    def classes_of(self, subset: int) -> Names:
        """The classes of a subset of the players, in the table's order."""
        return classes_of(self.players, subset, self.table)


def classes_of(players: Iterable[Names], subset: int, table: ClassTable) -> Names:
    """The classes of a subset of players, in the table's order: bit i of the subset is player i."""
    return table.ordered(name for i, names in enumerate(players) if subset >> i & 1 for name in names)


def check_players(count: int, field: str) -> None:
    """A subset of so many players is a whole number of 63 bits: arrays of numbers, tables and JSON hold it.

    Raises:
        RuleError: there are more.
    """
    if count > MOST_PLAYERS:
        fault = f"there must be {MOST_PLAYERS} players at most"
        raise RuleError(field, fault, count, "Put classes that belong together into groups (search.subsets.groups).")


def check_placebos(placebos: Sequence[str], classes: Sequence[str], table: ClassTable) -> None:
    """Each is named once, and there are classes to draw from.

    Raises:
        RuleError: not so; its field is `placebos`.
    """
    if len(set(placebos)) != len(placebos):
        raise RuleError("placebos", "a placebo is named twice", list(placebos), "Delete one of them.")
    if "classes" in placebos and set(classes) == set(table.classes):
        fault = f"with all {len(table.classes)} classes there are no others to draw"
        raise RuleError("placebos", fault, "classes", "Use random and image, or fewer classes.")
