"""Predictions or descriptors that a program left, evaluated by the trial's protocol."""

from __future__ import annotations

from typing import Any

from vprdist.evaluation.measure import Answers, Measured, check_foreign, from_files, from_predictions, measure
from vprdist.program.leaves import Left
from vprdist.spec.result import SetResult
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder


def evaluated(trial: TrialSpec, place: TrialFolder, left: Left) -> dict[str, Any]:
    """Fields of the result, and `notes` for a person; what single queries found is written to `predictions/`.

    Numbers of the program's own stand beside those of the protocol, which win where both have a name.

    Raises:
        UserError: files that cannot be read, or lack what is asked.
    """
    answers = _answers(trial, left)
    check_foreign(trial, answers, lambda key: f"trial.evaluate.{key}", str(left.files[0]))
    found: dict[str, Measured] = {}
    for name, own in trial.judgements.items():
        found[name] = each = measure(own, answers)
        each.evaluation.write(place.predictions, name if len(found) > 1 else "")
    first, *later = found.items()
    _, judged = first
    return {
        "protocol": judged.protocol,
        "metrics": {**left.metrics, **judged.evaluation.metrics},
        "city_metrics": judged.evaluation.city_metrics,
        "variants": judged.evaluation.results(judged.protocol),
        "others": tuple(
            SetResult(
                data_set=name, protocol=each.protocol, metrics=each.evaluation.metrics,
                city_metrics=each.evaluation.city_metrics, variants=each.evaluation.results(each.protocol),
            )
            for name, each in later
        ),
        "notes": tuple(note for each in found.values() for note in each.notes),
    }  # fmt: skip


def _answers(trial: TrialSpec, left: Left) -> Answers:
    assert trial.job is not None, "the trial is a program"
    return from_predictions(left.files[0]) if trial.job.leaves == "predictions" else from_files(left.files)
