"""What a sweep of subsets adds to the reading of its file."""

from __future__ import annotations

from collections.abc import Sequence

from vprdist.errors import SweepFileError
from vprdist.spec.read import Origin
from vprdist.spec.search import COUNTED
from vprdist.spec.subsets import FIRST_LOOK, Point, SubsetSpec
from vprdist.spec.sweep import SweepSpec

MASKED = ("masked", "rgb+mask")
ARMS = "the subsets say which arms there are, so that no other can"


def subset_points(sweep: SweepSpec, points: Sequence[Point], origin: Origin) -> list[Point]:
    """The points of `take`; of a searcher, those that are tried before anything starts: all players at each point.

    Raises:
        SweepFileError: an axis does not go with subsets.
    """
    search, subsets = sweep.search, _subsets(sweep)
    for section, axes in (("grid", sweep.grid), ("space", search.space)):
        for axis in (
            "input.classes", "input.mask_reduce", "train.arms", *(("input.placebo",) if subsets.placebos else ())
        ):  # fmt: skip
            if axis in axes:
                fault = (
                    "no axis of a search of subsets: the subsets say which classes make the mask, reduced in one way"
                )
                if axis == "input.placebo":
                    fault = "a placebo cannot be named here: subsets.placebos names those of every arm"
                if axis == "train.arms":
                    fault = ARMS
                raise SweepFileError(origin.where(("search", section, axis)), fault, None, "Delete the axis.")
    if subsets.placebos and search.searcher != "one_network" and sweep.trial.input.placebo != "none":
        where, fault = (
            origin.where(("trial", "input", "placebo")),
            "a placebo cannot be named here: subsets.placebos names those of every arm",
        )
        raise SweepFileError(where, fault, sweep.trial.input.placebo, "Delete the key.")
    if sweep.trial.train.arms is not None:
        raise SweepFileError(origin.where(("trial", "train", "arms")), ARMS, None, "Delete the key.")
    if search.searcher in ("random", "optuna") and sweep.grid:
        remedy = "Write the axes under `space`."
        raise SweepFileError(origin.where(("search", "grid")), f"{search.searcher} cannot search a grid", None, remedy)
    if search.searcher == "one_network":
        everybody = subsets.everybody
        return [
            point for at in points for point in (subsets.network_point(at), subsets.point(at, everybody))
        ]  # the networks, and what a finalist is like
    if not search.space:
        points = sweep.arm_settings
    chosen = subsets.taken() or [subsets.everybody]
    return [subsets.point(at, subset) for at in points for subset in chosen if subset or sweep.nobody_runs(at)]


def check_subsets(sweep: SweepSpec, origin: Origin) -> SweepSpec:
    """The sweep, its masks comparable and its trials enough to tell something; the trials of a greedy search counted.

    Raises:
        SweepFileError: they are not.
    """
    search, subsets = sweep.search, _subsets(sweep)
    space = search.space.get("input.mode")
    modes = sweep.grid.get("input.mode", space.samples if space else (sweep.trial.input.mode,))
    if wrong := [mode for mode in modes if mode not in MASKED]:
        axis = next((key for key, axes in (("grid", sweep.grid), ("space", search.space)) if "input.mode" in axes), "")
        where = origin.where(("search", axis, "input.mode") if axis else ("trial", "input", "mode"))
        remedy = "Use masked or rgb+mask." if axis else "Set trial.input.mode: masked (or rgb+mask)."
        raise SweepFileError(where, "subsets of classes need modes with a mask", wrong[0], remedy)
    if sweep.trial.input.mask_reduce == "mean":
        fault = "subsets of different size must be compared by sum or max: a mean darkens the picture by their number"
        remedy = "Delete trial.input.mask_reduce; its default is sum here."
        raise SweepFileError(origin.where(("trial", "input", "mask_reduce")), fault, "mean", remedy)
    if search.searcher == "shapley":
        fewest = FIRST_LOOK * sum(subsets.draw_trials(sweep.nobody_runs(setting)) for setting in sweep.arm_settings)
        if (search.num_trials or 0) < fewest:
            fault = f"{FIRST_LOOK} draws of {subsets.num_players} players need {fewest} trials, and fewer tell nothing"
            where, remedy = origin.where(("search", "num_trials")), "Raise num_trials, or form groups of classes."
            raise SweepFileError(where, fault, search.num_trials, remedy)
    if search.searcher == "one_network":
        every, fewest = 2**subsets.num_players - 1, FIRST_LOOK * (2 * subsets.num_players - 1)
        if subsets.probes < min(every, fewest):
            fault = f"probes must be all {every} subsets, or at least {FIRST_LOOK} draws of orders, {fewest}"
            where = origin.where(("search", "subsets", "probes"))
            raise SweepFileError(where, fault, subsets.probes, "Raise it, or form groups of classes.")
    _check_untrained(sweep, origin)
    return _counted(sweep, origin) if search.searcher in COUNTED else sweep


def _check_untrained(sweep: SweepSpec, origin: Origin) -> None:
    """Networks that nobody trains have no luck of training: claims would seem to hold beyond the one that there is."""
    search, subsets = sweep.search, _subsets(sweep)
    is_one = search.searcher == "one_network"
    if all(trial.train.steps for trial in sweep.trials) or not (is_one or isinstance(subsets.take, str)):
        return
    if len(sweep.seeds) > 1:
        where, fault = (
            origin.where(("seeds",)),
            "with train.steps 0 nothing is trained, and there must be one seed: seeds are one network",
        )
        raise SweepFileError(where, fault, list(sweep.seeds), "Name one seed, or set trial.train.steps.")
    if is_one and subsets.num_finalists:
        where, fault = (
            origin.where(("search", "subsets", "finalists")),
            "with train.steps 0 no finalist can be trained alone",
        )
        raise SweepFileError(where, fault, subsets.finalists, "Set search.subsets.finalists: 0, or trial.train.steps.")


def _counted(sweep: SweepSpec, origin: Origin) -> SweepSpec:
    """With its trials at most, where the file does not say them; the networks and finalists of one network are all."""
    search, subsets = sweep.search, _subsets(sweep)
    is_greedy = search.searcher == "greedy"
    each = [
        subsets.greedy_trials(sweep.nobody_runs(at)) if is_greedy else subsets.network_trials() for at in sweep.settings
    ]
    most = len(sweep.seeds) * sum(each)
    if search.num_trials is None:
        return sweep.model_copy(update={"search": search.model_copy(update={"num_trials": most})})
    if search.num_trials < most and not is_greedy:
        where, fault = (
            origin.where(("search", "num_trials")),
            f"the number of trials must be that of networks and finalists, {most}",
        )
        raise SweepFileError(where, fault, search.num_trials, "Delete it, or name fewer seeds or finalists.")
    return sweep


def _subsets(sweep: SweepSpec) -> SubsetSpec:
    assert sweep.search.subsets is not None
    return sweep.search.subsets
