"""The reading of a sweep file: its values laid over each other, its grid, space and baseline checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vprdist.errors import SweepFileError, nearest
from vprdist.shipped import shipped_instead
from vprdist.spec.axes import checked_baseline, each_alone, mapping, read_grid, read_search
from vprdist.spec.idle import refuse_idle_overrides
from vprdist.spec.layers import TOP_KEYS as TOP_KEYS
from vprdist.spec.layers import TrialValues, override, trial_values
from vprdist.spec.old_spellings import present_key, present_keys
from vprdist.spec.read import Origin, parse_yaml, read_yaml, validate
from vprdist.spec.secret import secrets_in
from vprdist.spec.settle import settle, settle_choice
from vprdist.spec.subset_sweeps import check_subsets, subset_points
from vprdist.spec.sweep import SweepSpec, grid_points
from vprdist.spec.trial import TrialSpec
from vprdist.spec.trial_values import resolve_trial, with_one_table

MOST_TRIALS = 20_000
"""More is no sweep: each trial is a folder, a job and a row."""


def read_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file; later wins: built-in scale, recipe, `trial`, the file's `scales` entry, overrides, grid point.

    A recipe that a grid or space varies gives way to the keys that the file sets itself.

    Args:
        path: the sweep file; `sweeps/NAME.yaml` that the working folder lacks is the one that came with vprdist, which
            is noted.
        overrides: `dotted.key=value` words, the value read as YAML.

    Raises:
        SweepFileError: with file, line, dotted path, rule, value and remedy.
    """
    own = shipped_instead(path)
    raw, origin = read_yaml(own or path)
    if own is not None:
        origin.notes.append(f"{path} is not in this folder: the one that came with vprdist is taken, {own}")
    return _read_from(raw, origin, overrides)


def read_sweep_text(text: str, name: str, overrides: Sequence[str] = (), lines: bool = True) -> SweepSpec:
    """As `read_sweep`, of a text; its paths count from the working folder, and it must have a name.

    Args:
        name: what messages call the text.
        lines: messages name the line too; False where nobody has seen any.
    """
    raw, origin = parse_yaml(text, name)
    if not lines:
        origin.lines = dict.fromkeys(origin.lines, 0)
    if "name" not in raw and not any(word.startswith("name=") for word in overrides):
        raise SweepFileError(name, "a sweep without a file must have a name", None, "Set `name`.")
    return _read_from(raw, origin, overrides)


def _read_from(raw: dict[str, Any], origin: Origin, overrides: Sequence[str]) -> SweepSpec:
    try:
        return _read(raw, origin, overrides)
    except SweepFileError as error:
        raise SweepFileError(error.where, error.fault, error.value, origin.reachable(error.remedy)) from None


def _read(raw: dict[str, Any], origin: Origin, overrides: Sequence[str]) -> SweepSpec:
    last_words: dict[str, Any] = {}
    for word in overrides:
        override(raw, last_words, word, origin)
    for key in raw:
        if key not in TOP_KEYS:
            raise SweepFileError(origin.where((key,)), "unknown key", None, nearest(key, TOP_KEYS))
    for key in ("scales", "trial", "search"):
        mapping(raw.get(key, {}), (key,), origin)
    given = trial_values(raw, last_words, origin)
    grid = read_grid(raw, origin)
    shown = given.values.get("input")
    if "subsets" in raw.get("search", {}) and isinstance(shown, dict) and "class_table" in shown:
        # The subsets say which classes make the mask; not every table has a group `static`, the default.
        shown.setdefault("classes", "all")
    with_one_table(given.values)
    base = validate(TrialSpec, given.values, origin, ("trial",))
    sweep = _head(raw, base, given, origin)
    search = read_search(raw, origin, base.input.class_table)
    search = search.model_copy(update={"direction": sweep.direction})
    if search.subsets is not None and base.job is not None:
        fault = "a program of your own has no mask whose classes could be searched"
        remedy = "Delete the section, and let the program read trial.params: they may be axes."
        raise SweepFileError(origin.where(("search", "subsets")), fault, base.job.title, remedy)
    if search.space and grid:
        raise SweepFileError(
            origin.where(("search", "grid")), "a sweep cannot have both a grid and a space", None, "Delete one."
        )
    if len(sweep.seeds) > 1 and not search.method.several_seeds:
        fault, remedy = "a searcher must have one seed a point", search.method.seeds_remedy
        raise SweepFileError(origin.where(("seeds",)), fault, list(sweep.seeds), remedy)
    baseline = checked_baseline(sweep.baseline, grid, origin)
    frozen_grid = {key: tuple(values) for key, values in grid.items()}
    sweep = sweep.model_copy(update={"grid": frozen_grid, "search": search, "baseline": baseline})
    _check_number(sweep, origin)
    points = each_alone(search) if search.space else grid_points(grid)
    if search.subsets is not None:
        points = subset_points(sweep, points, origin)
    every = [(point, seed) for point in points for seed in sweep.seeds]
    trials = tuple(resolve_trial(given.values, given.own_train, point, seed, origin) for point, seed in every)
    sweep = sweep.model_copy(update={"trials": trials, "points": tuple(p for p, _ in every)})
    refuse_idle_overrides(sweep, origin)
    if search.subsets is not None:
        return check_subsets(sweep, origin)
    return _scheduled(sweep, origin) if search.scheduler else sweep


def _check_number(sweep: SweepSpec, origin: Origin) -> None:
    """Refuse more trials than a run folder can hold. They are counted before one of them is made: six axes of a
    hundred values are 10^12.

    Raises:
        SweepFileError: there are too many.
    """
    search, fault = sweep.search, f"a sweep may not have more than {MOST_TRIALS} trials"
    if (search.num_trials or 0) > MOST_TRIALS:
        raise SweepFileError(origin.where(("search", "num_trials")), fault, search.num_trials, "Lower it.")
    counts = {f"search.grid.{axis}": len(values) for axis, values in sweep.grid.items()} | {"seeds": len(sweep.seeds)}
    if search.space:
        counts["values of search.space"] = sum(len(domain.samples) for domain in search.space.values())
    if search.subsets is not None and search.subsets.take is not None:
        counts["search.subsets"] = len(search.subsets.taken()) * (1 + len(search.subsets.placebos))
    if (number := math.prod(counts.values())) > MOST_TRIALS:
        longest = max(counts, key=lambda name: counts[name])
        found = f"{number}: " + " × ".join(f"{count} ({name})" for name, count in counts.items())
        where = origin.where(("search", "grid") if longest.startswith("search.grid.") else tuple(longest.split(".")))
        raise SweepFileError(where, fault, found, "Shorten the lists, or search a space: it draws `num_trials` points.")


def _head(raw: dict[str, Any], base: TrialSpec, given: TrialValues, origin: Origin) -> SweepSpec:
    """The sweep with what its file says of it besides `trial` and `search`."""
    own = ("name", "seeds", "objective", "direction", "baseline", "cluster", "budget", "track")
    head: dict[str, Any] = {key: raw[key] for key in own if key in raw}
    head.setdefault("name", origin.path.stem)
    shell: dict[str, Any] = {
        **head,
        "scale": str(raw.get("scale", "demo")),
        "trial": base.to_json(),
        "grid": {},
        "own_train": given.own_train,
        "trials": [],
        "points": [],
    }
    if isinstance(shell.get("baseline"), dict):
        for key in shell["baseline"]:
            origin.move(("baseline", present_key(key)), ("baseline", key))
        named = {key: settle(key, each, origin, ("baseline", key)) for key, each in shell["baseline"].items()}
        shell["baseline"] = present_keys(named)
    _refuse_secrets(shell.get("track"), origin)
    if isinstance(shell.get("track"), list):
        shell["track"] = [settle_choice(each, origin, ("track",)) for each in shell["track"]]
    sweep = validate(SweepSpec, shell, origin)
    sweep.remember(origin, given.written)
    return sweep


def _refuse_secrets(track: Any, origin: Origin) -> None:
    """The file is copied into the run folder, and what is typed is in the shell's history: no secret may stand there.

    Raises:
        SweepFileError: one does; its value is not repeated.
    """
    if (found := next(secrets_in(track, "track"), None)) is not None:
        typed = any(key[0] == "track" for key in origin.overrides)
        place = f"override of {found}" if typed else origin.where(tuple(found.split(".")))
        remedy = (
            "Delete it; trackers read it from the environment: WANDB_API_KEY or `wandb login`, MLFLOW_TRACKING_TOKEN."
        )
        raise SweepFileError(place, "a secret may not stand in a sweep file", None, remedy)


def _scheduled(sweep: SweepSpec, origin: Origin) -> SweepSpec:
    """A scheduler compares trials while they train: they must be evaluated on the way."""
    steps, longest = (of(trial.trained_steps or 0 for trial in sweep.trials) for of in (min, max))
    if steps < 2:
        fault = "a scheduler needs trials that train for some steps"
        key = "train.steps" if sweep.trial.job is None else "job.steps"
        raise SweepFileError(origin.where(("search", "scheduler")), fault, steps, f"Set trial.{key}.")
    every = sweep.trial.run.evaluate_steps or max(1, steps // 4)
    grace = sweep.search.grace_steps or every
    first = every if sweep.trial.job is None else 1  # a program of the user's own logs when it likes
    if not first <= grace < steps:
        fault = f"this must lie between the first evaluation, {first}, and the last step, {steps}"
        raise SweepFileError(origin.where(("search", "grace_steps")), fault, grace, "Change one of them.")

    def evaluated(trial: TrialSpec) -> TrialSpec:
        return trial.model_copy(update={"run": trial.run.model_copy(update={"evaluate_steps": every})})

    return sweep.model_copy(
        update={
            "search": sweep.search.model_copy(update={"grace_steps": grace, "max_steps": longest}),
            "trial": evaluated(sweep.trial),
            "trials": tuple(evaluated(trial) for trial in sweep.trials),
        }
    )
