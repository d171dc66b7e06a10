"""What a sweep's folder says of it: `manifest.json` lists its trials, `sweep.yaml` repeats it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import yaml

from vprdist import __version__
from vprdist.errors import LaunchError, UserError
from vprdist.files import canonical_json, read_json, write_json, write_text
from vprdist.source import running_source
from vprdist.spec.computation import COMPUTATION, FIRST
from vprdist.spec.names import is_name, name_remedy
from vprdist.spec.recipes import RECIPES
from vprdist.spec.row_name import row_name
from vprdist.spec.scales import SCALES
from vprdist.spec.search import Choice, Direction, Range
from vprdist.spec.sweep import METRIC_NAME, SweepSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.trial_values import RECIPE, leaves
from vprdist.store.reading import found_in

LONGEST_ID = 200
"""Characters: a trial's id is the name of its folder."""
SWEEPS, MANIFEST = "sweeps", "manifest.json"


def sweep_folder(runs: Path, name: str) -> Path:
    """Where everything about a sweep lies.

    Raises:
        LaunchError: a path in the place of its name.
    """
    if not is_name(name):
        raise LaunchError(runs, "a sweep must be called by its name, not by a path", name, name_remedy(name))
    return runs / SWEEPS / name


def sweep_names(runs: Path) -> list[str]:
    """Every sweep of a run folder."""
    return sorted(path.parent.name for path in (runs / SWEEPS).glob(f"*/{MANIFEST}"))


def manifest_path(folder: Path) -> Path:
    """The list of the trials of the sweep of that folder."""
    return folder / MANIFEST


def sweep_file(folder: Path) -> Path:
    """The resolved sweep file, which says the same as the one that was started."""
    return folder / "sweep.yaml"


def is_started(folder: Path) -> bool:
    """Whether a sweep was started in that folder."""
    return manifest_path(folder).exists()


class Manifest:
    """Written before anything starts, and again with each trial that a searcher proposes."""

    def __init__(self, folder: Path, sweep: SweepSpec, fallbacks: Sequence[str]) -> None:
        self.folder, self.sweep, self.fallbacks = folder, sweep, fallbacks
        self.names: dict[str, str] = {}
        self.shown: dict[str, str] = {}
        """What trials are called where seeds are told apart: `logs` and others know them by these."""
        self._seeds: dict[str, int] = {}
        self._rows: dict[str, str] = {}
        self._baselines: dict[str, str] = {}

    @property
    def players(self) -> dict[str, tuple[str, ...]] | None:
        """The players that rows of a search of subsets are named by; None for other sweeps."""
        return None if self.sweep.search.subsets is None else self.sweep.search.subsets.players

    def compare(self, trials: Sequence[TrialSpec]) -> None:
        """Note which trial each is compared with; `trials` are those of the sweep's points and seeds, in order."""
        self._baselines = baselines_of(self.sweep, trials)

    def add(self, trial: TrialSpec) -> None:
        """One more trial. Rows that differ in what names leave out, a segmenter's weights, are told apart by id."""
        axes = self.sweep.telling_axes
        name = row_name(trial, axes, self.players, self.sweep.telling_parameters) if axes else self.sweep.name
        row = trial.model_copy(update={"seed": 0}).trial_id
        if self._rows.setdefault(name, row) != row:
            name = f"{name} {row[:6]}"
        self._keep(trial.trial_id, name, trial.seed)

    def _keep(self, trial_id: str, name: str, seed: int) -> None:
        self.names[trial_id], self._seeds[trial_id] = name, seed
        self.shown[trial_id] = with_seed(name, seed) if len(self.sweep.seeds) > 1 else name

    def keep_known(self) -> None:
        """The trials that it lists already: nobody knows yet which of them this run will have."""
        if is_started(self.folder):
            for entry in read_manifest(self.folder)["trials"]:
                if entry["trial"] not in self.names:
                    self._keep(entry["trial"], entry["name"], entry["seed"])
                if "baseline" in entry:
                    self._baselines.setdefault(entry["trial"], entry["baseline"])

    def others(self, trials: Iterable[TrialSpec]) -> int | None:
        """How many trials of the same sweep name these leave out; None when there are none."""
        if not is_started(self.folder):
            return None
        return len(set(read_manifest(self.folder)["names"]) - {trial.trial_id for trial in trials}) or None

    def _entry(self, trial_id: str) -> dict[str, str | int]:
        entry: dict[str, str | int] = {
            "trial": trial_id, "name": self.names[trial_id], "seed": self._seeds[trial_id],
        }  # fmt: skip
        return entry | ({"baseline": self._baselines[trial_id]} if trial_id in self._baselines else {})

    def write(self) -> None:
        """Publish both files."""
        sweep, source = self.sweep, running_source()
        manifest = {
            "name": sweep.name,
            "vprdist": __version__,
            "source": None if source is None else asdict(source),
            "computation": COMPUTATION,
            "scale": sweep.scale,
            "objective": sweep.objective,
            "direction": sweep.direction,
            "cluster": sweep.cluster,
            "trials": [self._entry(trial_id) for trial_id in self._seeds],
            "fallbacks": list(self.fallbacks),
        }
        write_json(manifest_path(self.folder), manifest)
        text = yaml.safe_dump(resolved_file(sweep), sort_keys=False, allow_unicode=True)
        write_text(sweep_file(self.folder), text)


def with_seed(name: str, seed: int) -> str:
    """A trial of a row that has several."""
    return f"{name} seed {seed}"


def baselines_of(sweep: SweepSpec, trials: Sequence[TrialSpec]) -> dict[str, str]:
    """By trial id the trial that it is compared with, of the same seed; empty where that is the best row.

    Args:
        trials: resolved, one for each of the sweep's points and seeds, in order.
    """
    return {trial.trial_id: other.trial_id for trial, other in compared(sweep, trials)}


def compared(sweep: SweepSpec, trials: Sequence[TrialSpec]) -> list[tuple[TrialSpec, TrialSpec]]:
    """Each trial and the one that it is compared with, of the same seed; empty where that is the best row."""
    if sweep.search.method.proposes or sweep.baseline == "best":
        return []
    changes = sweep.baseline if isinstance(sweep.baseline, dict) else sweep.points[0]
    if sweep.baseline is None and sweep.search.subsets is not None and sweep.search.subsets.placebos:
        changes = {"input.placebo": "none"}  # each placebo beside the mask that it stands for
    by_place = {(canonical_json(point), trial.seed): trial for point, trial in zip(sweep.points, trials, strict=True)}
    return [
        (trial, by_place[canonical_json({**point, **changes}), trial.seed])
        for point, trial in zip(sweep.points, trials, strict=True)
    ]


def resolved_file(sweep: SweepSpec) -> dict[str, Any]:
    """A sweep file again: every default written out, so that it says the same when defaults or scales change."""
    trial = {key: value for key, value in sweep.trial.to_json().items() if key not in ("seed", "digests")}
    del trial["data"]["made_as"]  # no file has it: it is known when the city was made
    tried = [*sweep.settings, *({axis: None} for axis in sweep.search.space)]
    if any(key == RECIPE for point in tried for key, _ in leaves(point)):
        # Written out, they would win over every recipe.
        recipe_keys = set(next(iter(RECIPES.values()))) - set(sweep.own_train)
        trial["train"] = {key: value for key, value in trial["train"].items() if key not in recipe_keys}
    search: dict[str, Any] = {}
    if sweep.grid:
        search["grid"] = {key: list(values) for key, values in sweep.grid.items()}
    if sweep.search.space:
        search["space"] = {axis: _domain(domain) for axis, domain in sweep.search.space.items()}
    settings = sweep.search.model_dump(mode="json", exclude={"space", "max_steps", "direction"}, exclude_defaults=True)
    if sweep.search.searcher is not None:
        settings["searcher"] = sweep.search.searcher.as_written()
    return {
        "name": sweep.name,
        "scale": sweep.scale if sweep.scale in SCALES else "demo",
        "trial": trial,
        "search": search | settings,
        "seeds": list(sweep.seeds),
        "objective": sweep.objective,
        **({} if sweep.direction == "maximize" else {"direction": sweep.direction}),
        **({} if sweep.baseline is None else {"baseline": sweep.baseline}),
        "cluster": sweep.cluster,
        "budget": sweep.budget.model_dump(mode="json"),
        **({"track": [tracker.as_written() for tracker in sweep.track]} if sweep.track else {}),
    }


def _domain(domain: Choice | Range) -> Any:
    return list(domain.values) if isinstance(domain, Choice) else {domain.kind: [domain.low, domain.high]}


def read_manifest(folder: Path) -> dict[str, Any]:
    """A sweep's manifest, with `names` and `baselines` by trial id (`baselines` None: the best row is the baseline).

    Raises:
        UserError: it cannot be read.
    """
    path = manifest_path(folder)
    try:
        manifest = read_json(path)
        _check_manifest(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = f"Delete it and run the sweep again: {path}."
        found = f"no {error}" if isinstance(error, KeyError) else found_in(error)
        raise UserError(path, "a manifest must be readable", found, remedy) from None
    names = {entry["trial"]: entry["name"] for entry in manifest["trials"]}
    baselines = {entry["trial"]: entry["baseline"] for entry in manifest["trials"] if "baseline" in entry}
    return {"name": folder.name, **manifest, "names": names, "baselines": baselines or None}


def _check_manifest(manifest: Any) -> None:
    """Everything that others read of it is there, and of its kind.

    Raises:
        KeyError, TypeError, ValueError: not so.
    """
    for entry in manifest["trials"]:
        for key in ("trial", *(("baseline",) if "baseline" in entry else ())):
            if not isinstance(entry[key], str) or not is_name(entry[key]) or len(entry[key]) > LONGEST_ID:
                raise ValueError(f"{entry[key]!r} is no trial's id")
        if not isinstance(entry["name"], str):
            raise ValueError(f"{entry['name']!r} is no row's name")
        if not isinstance(entry["seed"], int) or isinstance(entry["seed"], bool):
            raise ValueError("a seed must be a whole number")
    if not isinstance(manifest.get("name", ""), str):
        raise ValueError("a sweep's name must be a text")
    if not isinstance(manifest["objective"], str) or not METRIC_NAME.fullmatch(manifest["objective"]):
        raise ValueError(f"{manifest['objective']!r} is no metric")
    if manifest.setdefault("direction", "maximize") not in get_args(Direction):
        raise ValueError(f"{manifest['direction']!r} is no direction")
    if not isinstance(manifest.get("computation", FIRST), int):
        raise ValueError("a computation must be a whole number")
