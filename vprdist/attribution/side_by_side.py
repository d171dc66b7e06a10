"""Which settings differ in one thing only (the form of the mask, or the network), and what is said of them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np

from vprdist.attribution.finished import PlayersByQuery
from vprdist.attribution.rows import effect_at
from vprdist.attribution.verdict import values_of, verdicts
from vprdist.files import canonical_json
from vprdist.game.agreement import FEWEST_ARMS, agreement, tau_b
from vprdist.game.inference import effects
from vprdist.spec.attribution import Agreement, ColumnPair, Effect, Form, SettingRow, SideBySide
from vprdist.spec.row_name import value_name
from vprdist.spec.trial import TrialSpec

FORM_KEYS = ("input.mask_at", "input.mask_fill", "input.mask_reduce")
NETWORK = "network"
TELLING = ("name", "backbone", "aggregator", "model", "file", "path", "architecture")
"""Ends of keys whose values say what a network is without the key."""
DIFFERENCE = 2.0
"""What two networks' additions to a metric in [0, 1] can differ by at most."""
Kept = Sequence[PlayersByQuery | None]


def form_of(trial: TrialSpec) -> Form | None:
    """The form of a trial's mask; None in modes that have none."""
    given = trial.input
    if given.mode != "masked":
        return None
    if given.at_features:  # weights of the pooling have no scale
        return Form(at="features", fill=None, reduce="max" if given.mask_reduce == "max" else "sum")
    return Form(fill=given.mask_fill, reduce=given.mask_reduce)


def with_forms_counted(rows: Sequence[SettingRow]) -> list[SettingRow]:
    """The same rows, each knowing how many forms were run of its setting."""
    counts = {place: len(group) for group in _groups(rows, "form") for place in _all_of(rows, group)}
    return [row.model_copy(update={"num_forms": counts.get(place, 1)}) for place, row in enumerate(rows)]


def side_by_side(rows: Sequence[SettingRow], kept: Kept) -> tuple[SideBySide, ...]:
    """The groups of two settings and more that differ in their form alone, then those that differ in the network.

    Args:
        kept: for each row what players add query by query, where that is known.
    """
    return tuple(
        _told(kind, rows, kept, group) for kind in ("form", "network") for group in _groups(rows, kind)
    )  # fmt: skip


def _told(kind: Literal["form", "network"], rows: Sequence[SettingRow], kept: Kept, group: Sequence[int]) -> SideBySide:
    columns = [rows[place] for place in group]
    told = verdicts(columns)
    names = form_names(columns) if kind == "form" else network_names(columns)
    players = [player.player for player in told]
    return SideBySide(
        kind=kind, shared=_shared(columns[0], kind), columns=names, settings=tuple(group), players=told,
        pairs=tuple(_pairs(names, columns, [kept[place] for place in group], players, kind == "network")),
    )  # fmt: skip


def _groups(rows: Sequence[SettingRow], kind: str) -> list[list[int]]:
    """Places of the rows that differ in one thing alone; of equal ones the first. Steps of a greedy search are none."""
    found: dict[str, dict[str, int]] = {}
    for place, row in enumerate(rows):
        if row.players and not row.taken and (kind == "network" or row.form is not None):
            own = found.setdefault(canonical_json([row.method, _shared(row, kind)]), {})
            own.setdefault(canonical_json(_differing(row, kind)), place)
    return [list(own.values()) for own in found.values() if len(own) > 1]


def _all_of(rows: Sequence[SettingRow], group: Sequence[int]) -> list[int]:
    """The places of a group with those that equal one of it: a key that a form does not use makes no other form."""
    own = {canonical_json([rows[at].method, _shared(rows[at], "form")]) for at in group}
    return [
        place
        for place, row in enumerate(rows)
        if row.form is not None and canonical_json([row.method, _shared(row, "form")]) in own
    ]


def _shared(row: SettingRow, kind: str) -> dict[str, Any]:
    """The setting's keys that are not of this kind. A form's own keys count for networks, as far as it uses them."""
    out = {key: value for key, value in flat(row.setting).items() if not _is_of(key, kind)}
    if kind == "network" and row.form is not None:
        told = {"input.mask_at": row.form.at, "input.mask_fill": row.form.fill, "input.mask_reduce": row.form.reduce}
        out = {key: told.get(key, value) for key, value in out.items() if told.get(key, value) is not None}
    return out


def _differing(row: SettingRow, kind: str) -> Any:
    if kind == "form":
        assert row.form is not None
        return row.form.model_dump(mode="json")
    return _network(row)


def _network(row: SettingRow) -> dict[str, Any]:
    return {key: value for key, value in flat(row.setting).items() if _is_of(key, "network")}


def _is_of(key: str, kind: str) -> bool:
    return key in FORM_KEYS if kind == "form" else key.split(".")[0] == NETWORK


def flat(setting: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    """Dotted keys to values that are no mappings: `{network: {backbone: x}}` is `{network.backbone: x}`."""
    out: dict[str, Any] = {}
    for key, value in setting.items():
        name = f"{head}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return out


def form_names(columns: Sequence[SettingRow]) -> tuple[str, ...]:
    """Short words: `black`, `mean colour`, `features`; with the reduction where several were run."""
    forms = [column.form for column in columns if column.form is not None]
    reduces = {form.reduce for form in forms}
    return tuple(form.words + (f" ({form.reduce})" if len(reduces) > 1 and form.reduce else "") for form in forms)


def network_names(columns: Sequence[SettingRow]) -> tuple[str, ...]:
    """What the networks are called, as rows are; where that is the same, what they differ in; at last with a number."""
    found = [{key: value for key, value in row.setting.items() if _is_of(key, NETWORK)} for row in columns]
    names = _differing_words(found)
    if len(set(names)) < len(names) or any("{" in name for name in names):  # a mapping that has no name
        names = _differing_words([flat(network) for network in found])
    return tuple(name if names.count(name) == 1 else f"{name} {place}" for place, name in enumerate(names, 1))


def _differing_words(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Their values of the keys in which they differ."""
    keys = list(dict.fromkeys(key for network in networks for key in network))
    told = [key for key in keys if len({canonical_json(network.get(key)) for network in networks}) > 1]
    return [" ".join(filter(None, (_value(key, network.get(key)) for key in told))) or "usual" for network in networks]


def _value(key: str, value: Any) -> str:
    if value is None:
        return ""
    end, text = key.rpartition(".")[2], value_name(key, value)
    if key in ("network", "network.backbone"):
        return text
    return text.rpartition("/")[2] if end in TELLING else f"{end} {text}"


def _pairs(
    names: Sequence[str], columns: Sequence[SettingRow], kept: Kept, players: Sequence[str], differ: bool
) -> Iterator[ColumnPair]:
    values = values_of(columns, players)
    every = list(combinations(values, 2))
    for one, other in every:
        first, second, count = kept[one], kept[other], len(players)
        differences: dict[str, Effect] = {}
        found = Agreement(count=count, tau=None)
        if first is not None and second is not None and first.is_beside(second):
            tau = agreement(first.mean_of(players), second.mean_of(players), first.queries.cluster)
            found = Agreement(count=count, tau=tau.value, low=tau.low, high=tau.high)
            if differ:
                differences = _differences(first, second, players, columns[one].confidence, len(every))
        elif count >= FEWEST_ARMS:
            alike = float(tau_b(np.array(values[one]), np.array(values[other])))
            found = Agreement(count=count, tau=None if np.isnan(alike) else alike)
        yield ColumnPair(columns=(names[one], names[other]), agreement=found, differences=differences)


def _differences(
    first: PlayersByQuery, second: PlayersByQuery, players: Sequence[str], confidence: float, num_pairs: int
) -> dict[str, Effect]:
    """By player what the first network adds less what the second does; networks of one seed belong together."""
    less = first.of(players) - second.of(players)
    found = effects(less, first.queries.cluster, confidence=confidence, num_claims=len(players) * num_pairs)
    return {name: effect_at(found, place, DIFFERENCE) for place, name in enumerate(players)}
