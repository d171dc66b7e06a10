"""Through which arm a training step shows its pictures: from the trial's seed and the step's number alone."""

from __future__ import annotations

import numpy as np

from vprdist.spec.arms import Arm
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import Placebo

STREAM = 0xA236
"""Keeps these random numbers apart from those of the pairs, which have the same seed."""


def arm_of_step(trial: TrialSpec, step: int) -> Arm | None:
    """The arm of a step (see `ArmsSpec`), the same on every rank and after every resume; None without arms.

    In mode `rgb+mask` nobody is an arm too: the picture stays when the mask goes. In mode `masked` it would be black.
    """
    spec = trial.train.arms
    if spec is None:
        return None
    rng = np.random.default_rng([STREAM, trial.seed, step])
    num_players = len(spec.players)
    size = int(rng.integers(0 if trial.input.mode == "rgb+mask" else 1, num_players + 1))
    subset = sum(1 << int(player) for player in rng.permutation(num_players)[:size])
    # Half of the steps show the subset's own mask.
    kinds: list[Placebo] = ["none"] * max(1, len(spec.placebos))
    kinds += spec.placebos
    return Arm(spec.classes_of(subset), kinds[int(rng.integers(len(kinds)))])
