"""Shapley values of single classes from the sweeps of a run folder, to be read beside learnt weights.

A search of subsets makes its masks itself, so no sweep has both: the values are another sweep's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.attribution.side_by_side import form_of
from vprdist.errors import UserError
from vprdist.report.rows import Row, readable_results
from vprdist.report.wording import level
from vprdist.spec.attribution import Effect, Form, SettingRow
from vprdist.spec.result import Protocol
from vprdist.spec.sweep import trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.attribution_file import attribution_path, read_attribution
from vprdist.store.manifest import read_manifest, sweep_file, sweep_folder, sweep_names
from vprdist.store.trial_folder import TrialFolder

METHODS = ("shapley", "one_network")
"""Those whose additions are Shapley values."""
HOW = (
    "No Shapley values of single classes are in this run folder for these data and this network; they come from "
    "vprdist.sweep sweeps/supernet.yaml search.subsets.groups={} search.subsets.classes=static in this run folder."
)


@dataclass(frozen=True)
class ClassValues:
    """What single classes add in one setting of one sweep.

    Attributes:
        sweep: its name.
        form: of the masks there.
        trial: of the setting; its digests are not set.
        evaluated: data digests and protocols of results of the setting's network.
    """

    sweep: str
    objective: str
    setting: SettingRow
    form: Form
    trial: TrialSpec
    evaluated: frozenset[tuple[object, ...]]
    by_class: Mapping[str, Effect]

    @property
    def source(self) -> str:
        """The sentence under a table that says which sweep the values are from."""
        of = f"Shapley values: of sweep {self.sweep}, form {self.form.words}, what a class adds to {self.objective}"
        return f"{of}, {level(self.setting)} intervals for all players together."


def class_values(runs: Path) -> list[ClassValues]:
    """All that the run folder has; sweeps that cannot be read are left out."""
    found = list[ClassValues]()
    for name in sweep_names(runs):
        try:
            found += _of_sweep(runs, name)
        except (UserError, OSError):  # another sweep's fault costs this one its comparison, not its leaderboard
            continue
    return found


def _of_sweep(runs: Path, name: str) -> Iterator[ClassValues]:
    folder = sweep_folder(runs, name)
    report = read_attribution(attribution_path(folder))
    if report is None:
        return
    sweep, trials = read_sweep(sweep_file(folder)), read_manifest(folder)["names"]
    results, _ = readable_results(TrialFolder.of(runs, trial).result_file for trial in trials)
    for setting in report.settings:
        values = {each.classes[0]: each.adds for each in setting.players if len(each.classes) == 1}
        trial = trial_at(sweep, setting.setting)
        form = form_of(trial)
        if values and form is not None and setting.method in METHODS:
            same = (each for each in results if _network(each.trial) == _network(trial))
            evaluated = frozenset(_evaluated(each.trial, each.protocol) for each in same if each.protocol is not None)
            yield ClassValues(name, report.objective, setting, form, trial, evaluated, values)


def beside(row: Row, found: Sequence[ClassValues]) -> ClassValues | None:
    """The values of the same data, protocol and kind of network; of several those of the row's own form first, then of
    its trained units."""
    if (protocol := row.protocol) is None:
        return None
    fitting = [
        each
        for each in found
        if _network(each.trial) == _network(row.trial) and _evaluated(row.trial, protocol) in each.evaluated
    ]
    own = form_of(row.trial)

    def distance(each: ClassValues) -> tuple[bool, bool]:
        is_other = own is None or (each.form.at, each.form.fill) != (own.at, own.fill)
        return is_other, each.trial.network.layers != row.trial.network.layers

    return min(fitting, key=distance, default=None)


def _network(trial: TrialSpec) -> tuple[object, ...]:
    """What must be equal for weights and values to speak of one thing; the classes' table as well."""
    return trial.network.backbone, trial.network.aggregator, trial.input.class_table


def _evaluated(trial: TrialSpec, protocol: Protocol) -> tuple[object, ...]:
    data = None if trial.digests is None else trial.digests.dataset
    return data, protocol.dataset, protocol.cities, protocol.subtask, protocol.image_size
