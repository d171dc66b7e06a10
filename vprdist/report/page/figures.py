"""What masks let through: some queries on their way into each kind of network with masks, the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vprdist.report.page.contents import Pictures
from vprdist.report.page.flips import Album
from vprdist.semantics.arms import arm_words
from vprdist.spec.trial import TrialSpec

NUM_FIGURES, MOST_KINDS = 4, 6


def kinds_of_mask(trials: Sequence[TrialSpec]) -> list[TrialSpec]:
    """A trial for each kind of mask: a mode, a reduction, a placebo. The first few; placebos behind the masks."""
    kinds: dict[tuple[str, ...], TrialSpec] = {}
    for trial in sorted((t for t in trials if t.input.uses_mask), key=lambda t: t.input.placebo != "none"):
        kinds.setdefault((trial.input.mode, str(trial.input.mask_reduce), trial.input.placebo), trial)
    return list(kinds.values())[:MOST_KINDS]


def figures_of(trial: TrialSpec, pictures: Pictures, album: Album) -> dict[str, Any] | None:
    """Some queries through a trial's mask, and what the mask is; None where nothing can be had."""
    assert trial.input.mask_reduce is not None
    shown = [
        {"figure": figure, "pictures": [(view.label, album.uri(view.jpeg)) for view in figure.views]}
        for figure in pictures.figure(trial, NUM_FIGURES)
    ]
    words = f"{trial.input.mode}: {arm_words(trial.input.arm, trial.input.mask_reduce)}"
    return {"mask": words, "classes": ", ".join(trial.input.class_names), "figures": shown} if shown else None
