"""Subsets of classes as a sweep file asks for them: who the players are, and which subsets of them to try."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.spec.arms import ArmsSpec, Control, check_placebos, check_players, classes_of
from vprdist.spec.base import Names, Spec, marked
from vprdist.spec.class_table import CITYSCAPES, ClassTable, settled_table, table_of
from vprdist.spec.vocabulary import CLASS_GROUPS, CLASSES

Point = dict[str, Any]
"""One choice of the search: dotted trial key to value; `seed` where a searcher chooses it."""

FIRST_LOOK = 8
"""Draws of orders before the ranking is looked at; with fewer, intervals are wide and players seldom meet."""


class SubsetSpec(Spec):
    """Players, whose subsets are tried: single classes (`classes`), or `groups` of classes that come and go together.

    A subset is a whole number whose bit i is player i.
    """

    classes: str | Names | None = Field(
        default=None, description="players are these classes; null: the static ones, or `groups`",
        json_schema_extra=marked(words=CLASS_GROUPS, entries=CLASSES, entry="class"),
    )  # fmt: skip
    groups: dict[str, Names] = Field(
        default_factory=dict, description="players are groups: a name of yours for each, and its classes",
        json_schema_extra=marked(key="group", entries=CLASSES, entry="class"),
    )  # fmt: skip
    take: Literal["leave_one_out", "add_one_in"] | tuple[Names, ...] | None = Field(
        default=None, description="without a searcher: which subsets; a list names players"
    )
    placebos: tuple[Control, ...] = Field(
        default=(), description="every arm is tried with these in its mask's place too"
    )
    finalists: int = Field(default=3, ge=0, description="one_network: best subsets, trained alone beside everybody")
    probes: int = Field(default=1024, ge=1, description="one_network: subsets that it is evaluated under, at most")
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="probability of intervals, claims and the settled ranking"
    )
    tie: float = Field(default=0.02, gt=0, lt=1, description="shapley: a smaller difference of two values is none")

    class_table: str | Names = Field(
        default=CITYSCAPES, description="that of trial.input, which fills it in",
        json_schema_extra=marked(in_files=False),
    )  # fmt: skip

    @model_validator(mode="after")
    def _possible(self) -> SubsetSpec:
        # Frozen for everybody else; this is still the making.
        object.__setattr__(self, "class_table", settled_table(self.class_table))
        table = self.table
        if self.groups and self.classes is not None:
            raise RuleError(
                "classes", "players must be classes or groups, not both", self.classes, "Delete one of the two."
            )
        word = "static" if self.classes is None and not self.groups else self.classes
        if isinstance(word, str):
            if word not in CLASS_GROUPS:
                fault = "`classes` must be static, all, or a list of class names"
                raise RuleError("classes", fault, word, nearest(word, table.groups))
            table.check_group("classes", word)
        field = "groups" if self.groups else "classes"
        for player, classes in self.players.items():
            if not player.strip():
                raise RuleError(field, "a group has no name", player, "Name it, or delete the group.")
            if not classes:
                raise RuleError(
                    field, "a group must have at least one class", player, "Name a class, or delete the group."
                )
            for name in classes:
                table.check_class(field, name)
        lists = self.groups.values() or [() if isinstance(self.classes, str) else self.classes or ()]
        named = [name for names in lists for name in names]
        if twice := [name for name in table.classes if named.count(name) > 1]:
            raise RuleError(field, "a class is named twice", twice[0], "It can be of one player only.")
        if self.num_players < 2:
            raise RuleError(field, "a search of subsets needs at least two players", list(self.players), "Name more.")
        check_players(self.num_players, field)
        if isinstance(self.take, tuple):
            self._check_list(self.take)
        check_placebos(self.placebos, self.class_names(self.everybody), table)
        return self

    def _check_list(self, subsets: tuple[Names, ...]) -> None:
        for subset in subsets:
            if not subset:
                raise RuleError(
                    "take", "a subset cannot be empty: it would make an empty mask", [], "Name a player, or delete it."
                )
            for name in subset:
                if name not in self.players:
                    fault = "no such player"
                    raise RuleError("take", fault, name, nearest(name, self.players))
            if len(set(subset)) != len(subset):
                raise RuleError("take", "a subset names a player twice", list(subset), "Delete it.")
        chosen = [frozenset(subset) for subset in subsets]
        for subset, names in zip(subsets, chosen, strict=True):
            if chosen.count(names) > 1:
                raise RuleError("take", "a subset is listed twice", list(subset), "Delete one of them.")
        if not subsets:
            raise RuleError("take", "a list of subsets must have at least one", [], "Name one, or use leave_one_out.")

    @property
    def players(self) -> dict[str, Names]:
        """Each player's classes by its name, in the order of the file (of a class group: the table's order)."""
        if self.groups:
            return dict(self.groups)
        chosen = "static" if self.classes is None else self.classes
        return {name: (name,) for name in (self.table.groups[chosen] if isinstance(chosen, str) else chosen)}

    @property
    def table(self) -> ClassTable:
        """The class table."""
        return table_of(self.class_table)

    @property
    def num_players(self) -> int:
        return len(self.players)

    @property
    def everybody(self) -> int:
        """The subset of all players."""
        return (1 << self.num_players) - 1

    def class_names(self, subset: int) -> list[str]:
        """The classes of a subset in the table's order: one subset has one mask and one trial."""
        return list(classes_of(self.players.values(), subset, self.table))

    @property
    def arms(self) -> ArmsSpec:
        """What the one network of searcher one_network is trained under."""
        return ArmsSpec(players=tuple(self.players.values()), placebos=self.placebos, class_table=self.class_table)

    def taken(self) -> list[int]:
        """The subsets of `take`, first the one that they are compared with, which in add_one_in is empty."""
        alone = [1 << i for i in range(self.num_players)]
        if self.take == "leave_one_out":
            return [self.everybody, *(self.everybody ^ one for one in alone)]
        if self.take == "add_one_in":
            return [0, *alone]
        names = list(self.players)
        return [sum(1 << names.index(name) for name in subset) for subset in self.take or ()]

    def point(self, setting: Point, subset: int) -> Point:
        """The point of a subset at the other axes' values; of the empty one, the network that gets no mask."""
        if subset == 0:
            return {**setting, "input.mode": "rgb"}
        return {**setting, "input.classes": self.class_names(subset)}

    def network_point(self, setting: Point, trains: bool = True) -> Point:
        """The point of the one network for all subsets; of one that is not trained, it sees none of them before."""
        usual = {"class_table"} if self.table.is_default else None
        arms = self.arms.model_dump(mode="json", exclude=usual) if trains else None
        return {**setting, "train.arms": arms, "input.classes": self.class_names(self.everybody)}

    def draw_trials(self, nobody_runs: bool) -> int:
        """Trials of one draw (see `game.draws`).

        Args:
            nobody_runs: the empty subset is a trial too (mode rgb+mask: a plain rgb network).
        """
        return 2 * self.num_players - 1 + nobody_runs

    def greedy_trials(self, nobody_runs: bool) -> int:
        """Trials of a greedy selection at most: n subsets, then n - 1, …, then one; and placebos of those taken in.

        Args:
            nobody_runs: the empty subset is a trial too, as for `draw_trials`.
        """
        n = self.num_players
        return n * (n + 1) // 2 + n * len(self.placebos) + nobody_runs

    def network_trials(self) -> int:
        """Trials of searcher one_network: the network, and everybody and the finalists on their own."""
        return 1 + (self.num_finalists + 1 if self.finalists else 0)

    @property
    def num_finalists(self) -> int:
        """Subsets beside everybody that are trained alone: no more than were probed, of which there may be fewer."""
        return min(self.finalists, self.everybody - 1, self.probes - 1)
