"""What probes say of players, from made-up values of every arm and query: recomputed by loops over all orders."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.attribution.making import PLAYERS, SWEEP, resolved
from tests.launch.toy import toy_result
from vprdist.attribution.chances import chances
from vprdist.attribution.from_probes import network_setting
from vprdist.data.tasks import tasks_of
from vprdist.files import write_json
from vprdist.parquet import write_columns, write_parquet
from vprdist.probes.make import order_of
from vprdist.probes.order import PROBE_COLUMNS, PartReport
from vprdist.report.wording import reading
from vprdist.search.subset_rule import families, network_point
from vprdist.spec.attribution import SettingRow
from vprdist.spec.result import QUERY_COLUMNS, ResultRow
from vprdist.spec.sweep import trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.vocabulary import METRICS
from vprdist.store.trial_folder import TrialFolder

ONE = ["search.subsets.take=null", "search.searcher=one_network", "search.subsets.finalists=0"]
EVERYBODY = 7


class Probed:
    """Networks of a sweep that are trained and probed, with values that nobody computed."""

    def __init__(self, root: Path, tmp_path: Path, words: list[str]) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(SWEEP.format(root=root))
        cache = f"trial.input.cache={tmp_path / 'gone'}"
        self.sweep, self.runs = read_sweep(path, [*ONE, cache, *words]), tmp_path / "runs"
        self.rows: list[ResultRow] = []
        self.values: list[dict[tuple[int, str], np.ndarray]] = []
        self.orders = []
        for seed in self.sweep.seeds:
            trial = resolved(trial_at(self.sweep, network_point(self.sweep, {}, seed)))
            folder = TrialFolder.of(self.runs, trial.trial_id)
            self.places = [
                (task.city.name, str(task.city.query.keys[row])) for task in tasks_of(trial) for row in task.queries
            ]
            self.nobody = np.array([chances(trial, "recall@1")[place] for place in self.places])
            write_parquet(folder.path / "predictions" / "queries.parquet", self.queries(), QUERY_COLUMNS)
            self.rows.append(toy_result(trial))
            self.orders.append(order_of(self.sweep, {}, folder))
            rng = np.random.default_rng(seed)
            found = {probe: rng.integers(0, 2, len(self.places)) * 1.0 for probe in self.orders[-1].probes}
            self.values.append(found)
            self.write(len(self.values) - 1)

    def queries(self) -> list[dict[str, object]]:
        return [
            {"subtask": "all", "city": city, "query": key, "sequence_key": key, "frame_number": 0, "easting": 0.0,
             "northing": 0.0, "view_direction": "Forward", **dict.fromkeys(METRICS, 0.0)}
            for city, key in self.places
        ]  # fmt: skip

    def write(self, network: int) -> None:
        """Its parts, the queries in another order than the trial's."""
        turned = list(reversed(range(len(self.places))))
        for path, probes in self.orders[network].parts.items():
            columns: dict[str, list[object]] = {
                "subtask": ["all"] * len(turned),
                "city": [self.places[at][0] for at in turned],
                "query": [self.places[at][1] for at in turned],
                "nearest": [[f"{subset}-{at}" for subset, _ in probes] for at in turned],
            }
            rows = [[float(self.values[network][probe][at]) for probe in probes] for at in turned]
            write_columns(path, columns | {name: rows for name in PROBE_COLUMNS if name in METRICS})
            report = PartReport(probes=probes, num_pictures=20, seconds=2.0, device="cpu x1", threads=1)
            write_json(path.with_suffix(".json"), report.model_dump(mode="json"))

    def setting(self) -> SettingRow:
        game = families(self.sweep, lambda point: None)[0][0]
        return network_setting(self.sweep, game, {}, self.rows, self.orders, lambda point: None, self.runs)

    def worth(self, subset: int, kind: str) -> float:
        """The mean over networks and queries."""
        return float(np.mean([self.nobody if not subset else found[subset, kind] for found in self.values]))

    def shapley(self, player: int, kind: str) -> float:
        """What the player's joining brings, over all orders."""
        gains = []
        for order in itertools.permutations(range(len(PLAYERS))):
            before = sum(1 << each for each in order[: order.index(player)])
            gains.append(self.worth(before | 1 << player, kind) - self.worth(before, kind))
        return float(np.mean(gains))


def test_players_add_what_their_joining_brings_over_all_orders(small_tree, tmp_path):
    probed = Probed(small_tree, tmp_path, ["search.subsets.placebos=[random, image]"])
    told = probed.setting()
    rows = {row.player: row for row in told.players}
    assert [row.adds.value for row in told.players] == sorted((r.adds.value for r in told.players), reverse=True)
    for i, name in enumerate(PLAYERS):
        assert rows[name].adds.value == pytest.approx(probed.shapley(i, "none"), abs=1e-6)
        for kind in ("random", "image"):
            control = probed.shapley(i, kind)
            assert rows[name].placebos[kind].value == pytest.approx(control, abs=1e-6)
            assert rows[name].beyond[kind].value == pytest.approx(rows[name].adds.value - control, abs=1e-6)
        low, high = rows[name].adds.low, rows[name].adds.high
        assert low is not None and high is not None and -1 <= low <= rows[name].adds.value <= high <= 1
    total = sum(row.adds.value for row in told.players)
    assert total == pytest.approx(probed.worth(EVERYBODY, "none") - probed.nobody.mean(), abs=1e-6), "efficiency"
    assert told.nobody == pytest.approx(probed.nobody.mean())
    assert told.num_seeds == 3 and told.num_queries == len(probed.places)


def test_pairs_arms_flips_parts_and_costs(small_tree, tmp_path):
    probed = Probed(small_tree, tmp_path, ["search.subsets.placebos=[random]"])
    told = probed.setting()
    worth = {subset: probed.worth(subset, "none") for subset in range(8)}
    for pair in told.pairs:
        one, two = (1 << PLAYERS.index(name) for name in pair.players)
        third = EVERYBODY ^ one ^ two
        together = [worth[s | one | two] - worth[s | one] - worth[s | two] + worth[s] for s in (0, third)]
        assert pair.adds.value == pytest.approx(np.mean(together), abs=1e-6)
    assert len(told.arms) == 14 and [arm.value for arm in told.arms] == sorted(
        (a.value for a in told.arms), reverse=True
    )
    best = told.arms[0]
    subset = sum(1 << PLAYERS.index(name) for name in best.players)
    assert best.value == pytest.approx(probed.worth(subset, best.placebo or "none"), abs=1e-6) and best.alone is None
    first = probed.values[0]
    for row in told.players:
        left = EVERYBODY ^ (1 << PLAYERS.index(row.player))
        gained = (first[EVERYBODY, "none"] > first[left, "none"]).nonzero()[0]
        assert row.num_gained == len(gained)
        assert row.num_lost == (first[EVERYBODY, "none"] < first[left, "none"]).sum()
        for flip in row.flips:
            at = probed.places.index((flip.city, flip.query))
            assert (at in gained) == flip.gained
            assert (flip.with_player, flip.without) == (f"{EVERYBODY}-{at}", f"{left}-{at}")
        (part,) = row.parts
        assert (part.kind, part.name, part.num_queries) == ("city", "bob", len(probed.places))
        assert part.adds.value == pytest.approx(row.adds.value, abs=1e-6)
    assert told.cost is not None and told.agreement is None
    assert told.cost.num_probes == 3 * 14 and told.cost.probe_s == 3 * 2.0 and told.cost.num_trials == 3


@pytest.mark.parametrize(("placebos", "claim"), [("[]", "raises"), ("[random]", "helps")])
def test_one_network_helps_only_beside_a_control(small_tree, tmp_path, placebos, claim):
    probed = Probed(small_tree, tmp_path, [f"search.subsets.placebos={placebos}"])
    for network, values in enumerate(probed.values):
        for (subset, kind), found in values.items():
            found[:] = bool(subset & 1) and kind == "none"
        probed.write(network)
    best = probed.setting().players[0]
    assert (best.player, best.claim) == ("building", claim)


def test_one_network_claims_nothing_and_says_why(small_tree, tmp_path):
    probed = Probed(small_tree, tmp_path, ["seeds=[0]"])
    whole = np.ones(len(probed.places))
    for probe in probed.values[0]:
        probed.values[0][probe] = whole if probe[0] in (3, EVERYBODY) else 0 * whole
    probed.write(0)
    told = probed.setting()
    assert {row.claim for row in told.players} == {"untold"}
    assert any(pair.adds.low is not None and pair.adds.low > 0 for pair in told.pairs), "there is something to claim"
    assert {pair.claim for pair in told.pairs} == {"none"}
    assert reading(told)[1].endswith("and this very network (1 seed).")
    assert {row.bound for row in told.players} == {row.area for row in told.players} == {None}, "the cache is gone"
    assert any("one network" in note and "seeds=[0,1,2]" in note for note in told.notes)
