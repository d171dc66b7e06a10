"""Sweeps of subsets whose trials are over: values are a known game of their classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.launch.toy import toy_result
from vprdist.attribution.attribute import attribute
from vprdist.files import canonical_json
from vprdist.report.attribution import replace_attribution
from vprdist.search.subset_rule import SubsetRule
from vprdist.spec.attribution import AttributionReport, SettingRow
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.attribution_file import attribution_path, read_attribution

PLAYERS = ["building", "pole", "sky"]
SWEEP = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  input: {{mode: masked}}
search:
  subsets: {{classes: [building, pole, sky], take: leave_one_out}}
seeds: [0, 1, 2]
"""
WORTH = {
    "none": [0.3, 0.1, -0.1],
    "random": [0.05, 0.09, 0.0],
    "image": [0.0, 0.0, 0.0],
    "outline": [0.02, 0.01, 0.0],
}


def value(trial: TrialSpec) -> float:
    """An additive game with some luck of the seed and of the trial; without a mask a network is worth 0.35."""
    if trial.input.mode == "rgb":
        return 0.35
    worth = sum(WORTH[trial.input.placebo][PLAYERS.index(name)] for name in trial.input.class_names)
    luck = np.random.default_rng([trial.seed, len(trial.input.class_names)]).normal(0, 0.01)
    luck += np.random.default_rng([trial.seed, len(trial.input.class_names), len(trial.input.placebo)]).normal(0, 0.003)
    return float(0.4 + worth + luck)


def resolved(trial: TrialSpec) -> TrialSpec:
    return trial.resolved(Digests(dataset="d", cache="c", weights="w"))


class Finished:
    """A sweep whose trials are over: resolved trials, proposals, results."""

    def __init__(self, root: Path, tmp_path: Path, words: list[str]) -> None:
        self.file = tmp_path / "mine.yaml"
        self.file.write_text(SWEEP.format(root=root))
        self.sweep: SweepSpec = read_sweep(self.file, words)
        self.folder, self.runs = tmp_path / "sweep", tmp_path / "runs"
        self.trials = [resolved(trial) for trial in self.sweep.trials]
        self.results: dict[str, ResultRow] = {}
        self.ids: dict[str, str | None] = {}
        if not self.sweep.search.method.proposes:
            for trial in self.trials:
                self.finish(trial)
        elif self.sweep.search.method.searches_subsets:
            rule = SubsetRule(self.sweep)
            while wanted := [p for p in rule.wanted(self.value_of) if self.value_of(p) is None]:
                for point in wanted:
                    trial = resolved(trial_at(self.sweep, point))
                    self.ids[canonical_json(point)] = trial.trial_id
                    self.finish(trial)

    def finish(self, trial: TrialSpec) -> None:
        row = toy_result(trial).model_copy(update={"metrics": {"recall@1": value(trial)}})
        self.results[trial.trial_id] = row

    def value_of(self, point: dict[str, Any]) -> float | None:
        trial = self.ids.get(canonical_json(point))
        return None if trial is None else self.results[trial].metrics["recall@1"]

    def of(self, classes: tuple[str, ...], seed: int, placebo: str = "none") -> float:
        """The value of an arm that was trained."""
        (found,) = {
            row.metrics["recall@1"]
            for row in self.results.values()
            if (row.trial.input.class_names, row.trial.seed, row.trial.input.placebo) == (classes, seed, placebo)
        }
        return found

    def report(self) -> AttributionReport | None:
        """What is said, as it lies in the sweep's folder."""
        told = attribute(self.sweep, self.trials, self.ids, self.results, self.runs)
        replace_attribution(self.folder, told)
        assert read_attribution(attribution_path(self.folder)) == told, "it is what is written"
        return told

    def setting(self) -> SettingRow:
        """The row of a sweep with one setting."""
        report = self.report()
        assert report is not None
        (setting,) = report.settings
        return setting
