"""What masks let through: some queries on their way into each kind of network with masks, the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vprdist.report.page.contents import Pictures
from vprdist.report.page.flips import Album
from vprdist.semantics.arms import arm_words
from vprdist.semantics.filling import filled_words
from vprdist.spec.trial import TrialSpec

NUM_FIGURES, MOST_KINDS = 4, 8


def kinds_of_mask(trials: Sequence[TrialSpec]) -> list[TrialSpec]:
    """A trial for each kind of mask: a mode, a form, a reduction, a placebo. The first few; placebos behind the masks.

    A network for all arms met the placebos of its arms: they are shown as if it were a trial of each.
    """
    kinds: dict[tuple[str, ...], TrialSpec] = {}
    every = [each for trial in trials if trial.input.uses_mask for each in (trial, *_under_placebos(trial))]
    for trial in sorted(every, key=lambda t: t.input.placebo != "none"):
        given = trial.input
        kinds.setdefault((given.mode, given.form, str(given.mask_reduce), given.placebo), trial)
    return list(kinds.values())[:MOST_KINDS]


def _under_placebos(trial: TrialSpec) -> list[TrialSpec]:
    placebos = () if trial.train.arms is None else trial.train.arms.placebos
    return [
        trial.model_copy(update={"input": trial.input.model_copy(update={"placebo": placebo})}) for placebo in placebos
    ]


def figures_of(trial: TrialSpec, pictures: Pictures, album: Album) -> dict[str, Any] | None:
    """Some queries through a trial's mask, and what the mask is; None where nothing can be had."""
    assert trial.input.mask_reduce is not None
    shown = [
        {"figure": figure, "pictures": [(view.label, album.uri(view.jpeg)) for view in figure.views]}
        for figure in pictures.figure(trial, NUM_FIGURES)
    ]
    weighs = ", as weights of the features" if trial.input.at_features else filled_words(trial.input)
    words = f"{trial.input.mode}: {arm_words(trial.input.arm, trial.input.mask_reduce)}{weighs}"
    return {"mask": words, "classes": ", ".join(trial.input.class_names), "figures": shown} if shown else None
