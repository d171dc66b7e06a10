"""What a finished search of subsets says of its classes: `attribution.json` in the sweep's folder.

An *arm* is a subset of players with its own mask, or with a placebo in the mask's place. What a player *adds* is a
difference of arms, by the method of the search (Shapley's value, leave-one-out, add-one-in). The control is the same
difference between the placebos of these arms.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import Spec
from vprdist.spec.vocabulary import FORM_WORDS, MaskAt, MaskFill, MaskReduce

ATTRIBUTION_VERSION = 4
READABLE_VERSIONS = (3, ATTRIBUTION_VERSION)
"""Those that are read: of version 3 nothing was taken away, and it says nothing of settings side by side."""
Claim = Literal["helps", "hurts", "raises", "lowers", "none", "untold"]
"""helps, hurts: beyond every placebo. raises, lowers: the objective, but no control was run that could say more. none:
neither was detected; untold: nothing here tells (one seed of trained arms, or too few queries)."""
Verdict = Literal["helps", "hurts", "raises", "lowers", "depends", "none", "untold"]
"""What is said of a player in settings that differ in one thing. The first four: claimed in every one of them. depends:
claimed in some. none: claimed in no setting; untold: nothing tells in any of them."""
CONTROLLED: tuple[Claim, Claim] = ("helps", "hurts")
UNCONTROLLED: tuple[Claim, Claim] = ("raises", "lowers")
EFFECT_COLUMNS = (
    "setting", "player", "kind", "name", "placebo", "num_queries", "value", "low", "high", "claim", "bound",
)  # fmt: skip
"""The columns of `attribution.parquet`: a row an effect. `kind` is adds (of the whole), beyond (its placebo), city,
subtask, interaction (`name` is then the other player); `placebo` names the control, null for the real mask. Settings
side by side (`setting` is what they share) have verdict (`claim` has it, `name` the columns), difference (of two
networks, which `name` has: first less second) and agreement (tau-b of two columns, without a player)."""


class Effect(Spec):
    """A difference in the objective; its interval holds together with those of all players. Null: nothing tells it."""

    value: float
    low: float | None = None
    high: float | None = None


class PartEffect(Spec):
    """What a player adds on some of the queries: those of a city or of a subtask. Its interval stands alone."""

    kind: Literal["city", "subtask"]
    name: str
    num_queries: int
    adds: Effect


class Flip(Spec):
    """A query that is found with the player and missed without it (`gained`), or the other way round.

    `with_player` and `without` are the keys of the first database images retrieved.
    """

    gained: bool
    city: str
    query: str
    with_player: str
    without: str


class PlayerRow(Spec):
    """One player: a class, or a group of classes.

    Attributes:
        adds: what it adds with its own mask.
        placebos: by placebo, what it adds when every arm has that placebo in its mask's place.
        beyond: by placebo, `adds` less that, on the same queries and seeds.
        claim: `helps` only where it adds something and that is more than every placebo adds; `hurts` the other way.
            Without placebos `raises` and `lowers` are all that is said.
        bound: where nothing is claimed: no effect larger than this was detected (beyond its placebos, if it has any).
        seed_sd: standard deviation of `adds` over seeds or draws; null with one.
        area: mean share of the validation pictures' activations; confidence: mean activation where the class is the
            likeliest one. Null where it is nowhere, or nobody looked.
        num_gained, num_lost: queries that the first seed's network finds with everybody and misses without the player;
            the other way. Null where no such two arms were evaluated.
        flips: some of them.
    """

    player: str
    classes: tuple[str, ...]
    adds: Effect
    placebos: dict[str, Effect] = Field(default_factory=dict)
    beyond: dict[str, Effect] = Field(default_factory=dict)
    claim: Claim
    bound: float | None = None
    seed_sd: float | None = None
    area: float | None = None
    confidence: float | None = None
    parts: tuple[PartEffect, ...] = ()
    num_gained: int | None = None
    num_lost: int | None = None
    flips: tuple[Flip, ...] = ()

    @model_validator(mode="after")
    def _controlled(self) -> PlayerRow:
        if self.claim in (UNCONTROLLED if self.beyond else CONTROLLED):
            words = " or ".join(CONTROLLED if self.beyond else UNCONTROLLED)
            raise RuleError("claim", "only beyond placebos can a player help or hurt", self.claim, f"Say {words}.")
        return self


class PairRow(Spec):
    """Two players' Shapley interaction index: above zero they complement, below one stands in for the other."""

    players: tuple[str, str]
    adds: Effect
    claim: Literal["complement", "replace", "none"]


class ArmValue(Spec):
    """What one arm is worth: the mean over seeds of its objective. `alone`: of networks trained on this arm only."""

    players: tuple[str, ...]
    placebo: str | None = None
    value: float
    num_seeds: int
    alone: float | None = None


class Agreement(Spec):
    """How well two sides agree in the order of `count` values: Kendall's tau-b; null where it has no meaning.

    The values are of arms (of one network, and of networks trained on each arm alone) or of players (in two settings).
    The interval is by resampled queries, and null where values are not known query by query.
    """

    count: int
    tau: float | None
    low: float | None = None
    high: float | None = None


class Cost(Spec):
    """What the attribution took, in seconds times devices (GPUs, or ranks where there is none)."""

    num_trials: int
    train_s: float = Field(description="of all trials but the finalists: training and evaluation")
    num_probes: int = 0
    probe_s: float = 0.0
    num_finalists: int = 0
    finalists_s: float = 0.0
    on_gpu: bool = False


class Form(Spec):
    """How a mask takes away what it leaves out, in mode masked.

    Attributes:
        at: `picture`: pixels give way to a filling; `features`: the mask weighs them before they are pooled.
        fill: what stands in the place of what the mask leaves out; null at the features, where nothing does.
        reduce: how the classes' activations become one mask; at the features a mean is a sum, and is called so.
    """

    at: MaskAt = "picture"
    fill: MaskFill | None = "black"
    reduce: MaskReduce | None = None

    @property
    def words(self) -> str:
        """A word or two: `black`, `mean colour`, `features`."""
        return FORM_WORDS[self.fill or "features"]


class SettingRow(Spec):
    """One setting of the sweep's other axes (mode, layer set): its players, best first, and how they were found.

    Attributes:
        form: of the mask; null in a mode that has none, and in reports before version 4.
        num_forms: how many forms were run that differ in nothing else; its claims are of this form alone.
        is_fixed: nobody trained the network: claims hold for this very network.
        method: leave_one_out, add_one_in, greedy, shapley, one_network.
        confidence: at which the intervals and claims of all players hold together.
        nobody: what no player at all is worth.
        players: best first; of greedy those that were taken in, in that order.
        taken: of greedy: players in the order in which they were taken in.
        pairs: strongest interaction first.
        arms: best first.
        notes: sentences that a reader needs.
    """

    setting: dict[str, Any]
    form: Form | None = None
    num_forms: int = 1
    is_fixed: bool = False
    method: str
    confidence: float
    nobody: float | None
    num_queries: int | None
    num_clusters: int | None = None
    num_seeds: int
    players: tuple[PlayerRow, ...] = ()
    taken: tuple[str, ...] = ()
    pairs: tuple[PairRow, ...] = ()
    arms: tuple[ArmValue, ...] = ()
    agreement: Agreement | None = None
    cost: Cost | None = None
    notes: tuple[str, ...] = ()


class PlayerVerdict(Spec):
    """What may be said of a player in all columns together.

    Attributes:
        is_opposed: in one column its interval is above zero and in another below: they disagree in sign.
    """

    player: str
    verdict: Verdict
    is_opposed: bool = False


class ColumnPair(Spec):
    """Two columns: how alike they order the players, and which players they differ in.

    Attributes:
        columns: their names.
        agreement: of what players add.
        differences: of two networks, by player what the first adds less what the second does, on the same queries; the
            intervals of all pairs and players hold together. Empty of forms, and where queries were not kept apart.
    """

    columns: tuple[str, str]
    agreement: Agreement
    differences: dict[str, Effect] = Field(default_factory=dict)


class SideBySide(Spec):
    """Settings that differ in one thing only: the form of the mask, or the network.

    A verdict is a claim in every column. Each column keeps its own confidence and the verdict needs all of them, so it
    needs no correction for their number (an intersection-union test).

    Attributes:
        kind: what they differ in.
        shared: the setting's other keys, sections written out as dotted keys.
        columns: their names; settings: where they stand in the report's settings.
        players: the one that adds most, on average over columns, first.
        pairs: every two columns.
    """

    kind: Literal["form", "network"]
    shared: dict[str, Any]
    columns: tuple[str, ...]
    settings: tuple[int, ...]
    players: tuple[PlayerVerdict, ...]
    pairs: tuple[ColumnPair, ...] = ()

    @model_validator(mode="after")
    def _one_each(self) -> SideBySide:
        if len(set(self.columns)) != len(self.columns) or len(self.columns) != len(self.settings):
            fault = "every column must have a name of its own and a setting"
            raise RuleError("columns", fault, list(self.columns), "Run the sweep again.")
        return self


class AttributionReport(Spec):
    """The whole file. side_by_side: the verdict over the forms of the mask first, then over networks."""

    version: int = ATTRIBUTION_VERSION
    objective: str
    settings: tuple[SettingRow, ...]
    side_by_side: tuple[SideBySide, ...] = ()

    @model_validator(mode="after")
    def _there(self) -> AttributionReport:
        for each in self.side_by_side:
            if not all(0 <= place < len(self.settings) for place in each.settings):
                fault = "a column must be one of the report's settings"
                raise RuleError("side_by_side", fault, list(each.settings), "Run the sweep again.")
        return self
