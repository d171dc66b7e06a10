"""What a sweep of subsets adds to the reading of its file."""

from __future__ import annotations

from collections.abc import Sequence

from vprdist.errors import SweepFileError
from vprdist.spec.methods.base import subsets_of
from vprdist.spec.read import Origin
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec

MASKED = ("masked", "rgb+mask")
ARMS = "the subsets say which arms there are, so that no other can"


def subset_points(sweep: SweepSpec, points: Sequence[Point], origin: Origin) -> list[Point]:
    """What is tried before anything starts (`Method.first_points`).

    Raises:
        SweepFileError: an axis does not go with subsets.
    """
    search, subsets = sweep.search, subsets_of(sweep)
    for section, axes in (("grid", sweep.grid), ("space", search.space)):
        for axis in (
            "input.classes", "input.class_table", "input.mask_reduce", "input.learnt", "train.arms",
            *(("input.placebo",) if subsets.placebos else ())
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
    if subsets.placebos and not search.method.trains_one and sweep.trial.input.placebo != "none":
        where, fault = (
            origin.where(("trial", "input", "placebo")),
            "a placebo cannot be named here: subsets.placebos names those of every arm",
        )
        raise SweepFileError(where, fault, sweep.trial.input.placebo, "Delete the key.")
    if sweep.trial.input.learns_mask:
        where, fault = origin.where(("trial", "input", "learnt")), "no mask can be learnt here: its subsets make it"
        raise SweepFileError(where, fault, sweep.trial.input.learnt.title, "Delete the key.")
    if sweep.trial.train.arms is not None:
        raise SweepFileError(origin.where(("trial", "train", "arms")), ARMS, None, "Delete the key.")
    if search.method.searches_space and sweep.grid:
        remedy = "Write the axes under `space`."
        raise SweepFileError(origin.where(("search", "grid")), "this searcher cannot search a grid", None, remedy)
    return search.method.first_points(sweep, points)


def check_subsets(sweep: SweepSpec, origin: Origin) -> SweepSpec:
    """The sweep, its masks comparable, its trials enough to tell something, and counted (`Method.check`).

    Raises:
        SweepFileError: they are not.
    """
    search = sweep.search
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
    if "outline" in subsets_of(sweep).placebos and not any(
        "outline" in sweep.subsets_at(at).placebos for at in sweep.settings
    ):
        fault = "no outline can be shown here: it needs mode masked, and mask_at picture"
        raise SweepFileError(origin.where(("search", "subsets", "placebos")), fault, "outline", "Delete it.")
    _check_untrained(sweep, origin)
    return search.method.check(sweep, origin)


def _check_untrained(sweep: SweepSpec, origin: Origin) -> None:
    """Networks that nobody trains have no luck of training: claims would seem to hold beyond the one that there is."""
    if all(trial.train.steps for trial in sweep.trials) or not sweep.search.method.claims_by_seeds(subsets_of(sweep)):
        return
    if len(sweep.seeds) > 1:
        where, fault = (
            origin.where(("seeds",)),
            "with train.steps 0 nothing is trained, and there must be one seed: seeds are one network",
        )
        raise SweepFileError(where, fault, list(sweep.seeds), "Name one seed, or set trial.train.steps.")
