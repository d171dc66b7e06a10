"""What a sweep of subsets adds to the reading of its file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vprdist.errors import SweepFileError
from vprdist.spec.axes import each_alone
from vprdist.spec.methods.base import subsets_of
from vprdist.spec.read import Key, Origin
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial_values import leaves

MASKED = ("masked", "rgb+mask")
MASKS = "no axis of a search of subsets: the subsets say which classes make the mask, reduced in one way"
ARMS = "the subsets say which arms there are, so that no other can"
PLACEBO = "a placebo cannot be named here: subsets.placebos names those of every arm"
OF_SUBSETS = (
    "input.classes", "input.class_table", "input.mask_reduce", "input.learnt", "train.arms", "input.placebo",
)  # fmt: skip
"""Keys that no axis may have where there are subsets; a placebo may be one where they name none."""


def subset_points(sweep: SweepSpec, points: Sequence[Point], origin: Origin) -> list[Point]:
    """What is tried before anything starts (`Method.first_points`).

    Raises:
        SweepFileError: an axis does not go with subsets.
    """
    search, subsets = sweep.search, subsets_of(sweep)
    _check_axes(sweep, origin)
    if subsets.placebos and not search.method.trains_one and sweep.trial.input.placebo != "none":
        where, fault = origin.where(("trial", "input", "placebo")), PLACEBO
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


def _check_axes(sweep: SweepSpec, origin: Origin) -> None:
    """No axis may say what the subsets do, by a key or within a whole section (`input: [{classes: …}, …]`).

    Raises:
        SweepFileError: one does.
    """
    for where, key in _varied(sweep):
        for own in OF_SUBSETS:
            if own == "input.placebo" and not subsets_of(sweep).placebos:
                continue
            if key == own or key.startswith(f"{own}."):
                fault = PLACEBO if own == "input.placebo" else ARMS if own == "train.arms" else MASKS
                remedy = "Delete the axis." if len(where) == 3 else "Delete the key."
                raise SweepFileError(origin.where(where), fault, None, remedy)


def _varied(sweep: SweepSpec) -> Iterator[tuple[Key, str]]:
    """Every key that an axis varies, and where it stands."""
    values = {"grid": dict(sweep.grid), "space": {axis: each.samples for axis, each in sweep.search.space.items()}}
    for section, axes in values.items():
        for axis, tried in axes.items():
            for place, value in enumerate(tried):
                for key, _ in leaves({axis: value}):
                    dotted = ".".join(key)
                    within = () if dotted == axis else (str(place), *key[1:])
                    yield ("search", section, axis, *within), dotted


def _check_mode(sweep: SweepSpec, origin: Origin) -> None:
    """A mask at every point.

    Raises:
        SweepFileError: there is none.
    """
    search, key = sweep.search, "input.mode"
    points = each_alone(search) if search.space else sweep.settings
    wrong = next((mode for mode in (sweep.value_at(at, key) for at in points) if mode not in MASKED), None)
    if wrong is None:
        return
    where = next((where for where, dotted in _varied(sweep) if dotted == key), None)
    remedy = "Use masked or rgb+mask." if where else "Set trial.input.mode: masked (or rgb+mask)."
    found = origin.where(where[:3] if where else ("trial", "input", "mode"))
    raise SweepFileError(found, "subsets of classes need modes with a mask", wrong, remedy)


def check_subsets(sweep: SweepSpec, origin: Origin) -> SweepSpec:
    """The sweep, its masks comparable, its trials enough to tell something, and counted (`Method.check`).

    Raises:
        SweepFileError: they are not.
    """
    _check_mode(sweep, origin)
    masks = [trial.input.mask_reduce for trial in (sweep.trial, *sweep.trials) if trial.input.uses_mask]
    if "mean" in masks:
        fault = "subsets of different size must be compared by sum or max: a mean darkens the picture by their number"
        remedy = "Delete trial.input.mask_reduce; its default is sum here."
        raise SweepFileError(origin.where(("trial", "input", "mask_reduce")), fault, "mean", remedy)
    if "outline" in subsets_of(sweep).placebos and not any(
        "outline" in sweep.subsets_at(at).placebos for at in sweep.settings
    ):
        fault = "no outline can be shown here: it needs mode masked, and mask_at picture"
        raise SweepFileError(origin.where(("search", "subsets", "placebos")), fault, "outline", "Delete it.")
    _check_untrained(sweep, origin)
    return sweep.search.method.check(sweep, origin)


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
