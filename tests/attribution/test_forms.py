"""A class "helps in every form" wrongly at most as often as in one form: over simulated worlds, forms alike or not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.attribution.forms import Forms, all_but_one, nothing

TIMES, FORMS = 250, 3
MOST = 0.025 + 2.6 * np.sqrt(0.025 * 0.975 / TIMES)
"""Half of one less the confidence: a claim of helping is the upper half of an interval's error."""


@pytest.mark.parametrize("alike", [0.0, 0.9])
@pytest.mark.parametrize(
    ("adds", "placebo"),
    [(all_but_one(FORMS), nothing(FORMS)), (np.ones((FORMS, 4)), 1 - all_but_one(FORMS))],
    ids=["one form does nothing", "in one form a placebo does the same"],
)  # fmt: skip
def test_a_class_that_fails_in_one_form_is_hardly_ever_said_to_help_in_every(adds, placebo, alike: float) -> None:
    """The worst case: in all other forms it helps plainly, and the form where it does not is another for each class."""
    seen = Forms(adds, placebo, alike, clusters=30, size=3).play(TIMES, seed=1)
    assert seen["helps"] / TIMES <= MOST, seen
    assert seen["depends"] == TIMES, "what is true is said: it depends"


def test_a_class_that_helps_in_every_form_is_found() -> None:
    seen = Forms(np.full((FORMS, 4), 2.0), nothing(FORMS), clusters=30, size=3).play(50)
    assert seen == {"helps": 50}
