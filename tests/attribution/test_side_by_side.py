"""Sweeps over forms and networks, from trials and probes made by hand to the table class x form."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from tests.attribution.making import PLAYERS, SWEEP, Finished, resolved
from tests.attribution.test_networks import ONE
from tests.launch.toy import toy_result
from vprdist.attribution.attribute import attribute
from vprdist.attribution.chances import chances
from vprdist.data.tasks import tasks_of
from vprdist.files import canonical_json, write_json
from vprdist.parquet import write_columns, write_parquet
from vprdist.probes.make import order_of
from vprdist.probes.order import PROBE_COLUMNS, PartReport
from vprdist.report.attribution import markdown, write_attribution
from vprdist.search.subset_rule import network_point
from vprdist.spec.attribution import AttributionReport, Form
from vprdist.spec.result import QUERY_COLUMNS, ResultRow
from vprdist.spec.sweep import trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.vocabulary import METRICS
from vprdist.store.attribution_file import attribution_path, read_attribution
from vprdist.store.trial_folder import TrialFolder

FORMS = "search.grid={input.mask_at: [picture, features]}"
FILLS = "search.grid={input.mask_fill: [black, mean, noise]}"
NETWORKS = "search.grid={network.backbone: [resnet18, resnet50]}"


def test_trained_arms_in_two_forms_are_told_together(small_tree, tmp_path):
    told = Finished(small_tree, tmp_path, [FORMS, "search.subsets.placebos=[random, outline]"]).report()
    assert told is not None
    one, other = told.settings
    assert one.form == Form(reduce="sum") and other.form == Form(at="features", fill=None, reduce="sum")
    assert set(one.players[0].placebos) == {"random", "outline"} and set(other.players[0].placebos) == {"random"}
    (side,) = told.side_by_side
    assert (side.kind, side.columns, side.settings, side.shared) == ("form", ("black", "features"), (0, 1), {})
    assert {each.player for each in side.players} == set(PLAYERS)
    (pair,) = side.pairs
    assert pair.agreement.tau == 1.0 and pair.agreement.low is None, "the toy's values do not know of forms"


class Swept:
    """A sweep of one network a setting and seed, whose probes are made by hand."""

    def __init__(self, root: Path, tmp_path: Path, words: list[str]) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(SWEEP.format(root=root))
        self.sweep, self.runs = read_sweep(path, [*ONE, f"trial.input.cache={tmp_path / 'gone'}", *words]), tmp_path
        self.trials = [resolved(trial) for trial in self.sweep.trials]
        self.ids: dict[str, str | None] = {}
        self.results: dict[str, ResultRow] = {}
        self.values: dict[tuple[int, int], dict[tuple[int, str], np.ndarray]] = {}

    def probe(self, worth) -> None:
        """Write every network's probes.

        Args:
            worth: (setting's number, subset, kind, rng) to (Q,) found or missed.
        """
        for number, setting in enumerate(self.sweep.settings):
            for seed in self.sweep.seeds:
                point = network_point(self.sweep, setting, seed)
                trial = resolved(trial_at(self.sweep, point))
                folder = TrialFolder.of(self.runs, trial.trial_id)
                self.places = [
                    (task.city.name, str(task.city.query.keys[row])) for task in tasks_of(trial) for row in task.queries
                ]
                self.nobody = np.array([chances(trial, "recall@1")[place] for place in self.places])
                queries = [
                    {"subtask": "all", "city": city, "query": key, "sequence_key": key, "frame_number": 0,
                     "easting": 0.0, "northing": 0.0, "view_direction": "Forward", **dict.fromkeys(METRICS, 0.0)}
                    for city, key in self.places
                ]  # fmt: skip
                write_parquet(folder.path / "predictions" / "queries.parquet", queries, QUERY_COLUMNS)
                self.ids[canonical_json(point)] = trial.trial_id
                self.results[trial.trial_id] = toy_result(trial)
                self._write(order_of(self.sweep, setting, folder), number, seed, worth)

    def _write(self, order, number: int, seed: int, worth) -> None:
        rng = np.random.default_rng([number, seed])
        found = {probe: worth(number, *probe, rng, len(self.places)) for probe in order.probes}
        self.values[number, seed] = found
        for path, probes in order.parts.items():
            columns: dict[str, list[object]] = {
                "subtask": ["all"] * len(self.places),
                "city": [city for city, _ in self.places],
                "query": [key for _, key in self.places],
                "nearest": [[f"{subset}" for subset, _ in probes] for _ in self.places],
            }
            rows = [[float(found[probe][at]) for probe in probes] for at in range(len(self.places))]
            write_columns(path, columns | {name: rows for name in PROBE_COLUMNS if name in METRICS})
            report = PartReport(probes=probes, num_pictures=20, seconds=2.0, device="cpu x1", threads=1)
            write_json(path.with_suffix(".json"), report.model_dump(mode="json"))

    def report(self) -> AttributionReport:
        told = attribute(self.sweep, self.trials, self.ids, self.results, self.runs)
        assert told is not None
        return told

    def by_query(self, number: int, player: int) -> np.ndarray:
        """(S, Q) what the player's joining brings, over all orders, one by one."""
        rows = []
        for seed in self.sweep.seeds:
            values = {subset: found for (subset, kind), found in self.values[number, seed].items() if kind == "none"}
            values[0] = self.nobody
            gains = []
            for order in itertools.permutations(range(len(PLAYERS))):
                before = sum(1 << each for each in order[: order.index(player)])
                gains.append(values[before | 1 << player] - values[before])
            rows.append(np.mean(gains, axis=0))
        return np.array(rows)


def random(number, subset, kind, rng, count):
    return rng.integers(0, 2, count) * 1.0


def test_probes_in_three_forms_agree_as_their_values_do(small_tree, tmp_path):
    swept = Swept(small_tree, tmp_path, [FILLS, "search.subsets.placebos=[random, outline]"])
    swept.probe(random)
    told = swept.report()
    (side,) = told.side_by_side
    assert side.columns == ("black", "mean colour", "noise") and [row.num_forms for row in told.settings] == [3, 3, 3]
    values = np.array([[swept.by_query(n, p).mean() for p in range(3)] for n in range(3)])
    order = [PLAYERS[p] for p in np.argsort(-values.mean(axis=0))]
    assert [each.player for each in side.players] == order
    assert len(side.pairs) == 3 and all(pair.differences == {} for pair in side.pairs)
    for pair, (one, other) in zip(side.pairs, itertools.combinations(range(3), 2), strict=True):
        assert pair.agreement.tau == pytest.approx(kendalltau(values[one], values[other]).statistic)
        assert pair.agreement.low is not None and pair.agreement.low <= pair.agreement.tau <= pair.agreement.high
    write_attribution(tmp_path, told)
    assert read_attribution(attribution_path(tmp_path)) == told
    assert "## Class x form" in markdown(told)


def planted(number, subset, kind, rng, count):
    """With its own mask the first class finds everything; in the second setting it is the second class."""
    return np.full(count, 1.0 * (kind == "none" and bool(subset & 1 << number % 2)))


def test_what_helps_in_every_form_is_found_and_what_does_not_depends(small_tree, tmp_path):
    swept = Swept(small_tree, tmp_path, [FILLS, "search.subsets.placebos=[random]"])
    swept.probe(lambda number, subset, kind, rng, count: planted(0, subset, kind, rng, count))
    (side,) = swept.report().side_by_side
    assert (side.players[0].player, side.players[0].verdict) == ("building", "helps")
    swept.probe(planted)
    told = swept.report()
    verdicts = {each.player: each.verdict for each in told.side_by_side[0].players}
    assert verdicts["building"] == verdicts["pole"] == "depends" and verdicts["sky"] not in ("helps", "hurts")
    assert "It depends on the form for building" in markdown(told)


@pytest.mark.parametrize("seeds", ["seeds=[0]", "seeds=[0,1,2]"])
def test_networks_differ_where_their_values_do(small_tree, tmp_path, seeds):
    swept = Swept(small_tree, tmp_path, [NETWORKS, seeds])
    swept.probe(planted)
    told = swept.report()
    (side,) = told.side_by_side
    assert (side.kind, side.columns) == ("network", ("resnet18", "resnet50"))
    (pair,) = side.pairs
    for player, name in enumerate(PLAYERS):
        less = swept.by_query(0, player) - swept.by_query(1, player)
        assert pair.differences[name].value == pytest.approx(less.mean(), abs=1e-6)
    low, high = pair.differences["building"].low, pair.differences["building"].high
    assert low is not None and high is not None and 0 < low <= pair.differences["building"].value <= high
    assert pair.differences["pole"].high < 0
    assert "Told apart on the same queries, resnet18 less resnet50: building" in markdown(told).replace("\\", "")


def test_a_trial_that_two_points_are_is_told_once(small_tree, tmp_path):
    words = "search.grid={input.mask_at: [picture, features], input.mask_fill: [black, blur]}"
    swept = Swept(small_tree, tmp_path, [words, "seeds=[0]"])
    swept.probe(random)
    told = swept.report()
    (side,) = told.side_by_side
    assert len(told.settings) == 3 and side.columns == ("black", "blur", "features")
    assert "## form features: one network" in markdown(told)


def test_networks_of_each_form_stand_apart(small_tree, tmp_path):
    grid = "search.grid={network.backbone: [resnet18, resnet50], input.mask_at: [picture, features]}"
    swept = Swept(small_tree, tmp_path, [grid, "seeds=[0]"])
    swept.probe(random)
    told = [(side.kind, side.columns, side.shared) for side in swept.report().side_by_side]
    names, networks = ("black", "features"), ("resnet18", "resnet50")
    assert told == [
        ("form", names, {"network.backbone": "resnet18"}), ("form", names, {"network.backbone": "resnet50"}),
        ("network", networks, {"input.mask_at": "picture"}), ("network", networks, {"input.mask_at": "features"}),
    ]  # fmt: skip
