"""What somebody answers to the questions of a data set, as an evaluation with its protocol.

This is the one way for whatever did not come out of a training of ours: files and arrays of descriptors, predictions,
and a finished network that is asked again. It writes nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.data.apart import check_apart
from vprdist.data.layouts import dataset_digest, layout_of
from vprdist.data.layouts.less import left_out_words
from vprdist.data.tasks import Task, breakdown_tasks, build_tasks, prediction_task, unasked
from vprdist.errors import UserError
from vprdist.evaluation.descriptor_files import Part, gathered, read_descriptors
from vprdist.evaluation.descriptors import Descriptors, Wanted
from vprdist.evaluation.evaluate import (
    NOTHING,
    Evaluation,
    Extra,
    assess,
    describe_protocol,
    learning_rows,
    wanted_rows,
)
from vprdist.evaluation.predictions import read_predictions, taken_predictions, write_submission
from vprdist.spec.result import Protocol
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import Storage

Answer = Callable[[TrialSpec, Sequence[Task], Extra], tuple[Evaluation, Sequence[str]]]
"""To a trial as one of its data sets is evaluated, with notes for a person."""
Reading = Callable[[Wanted, Storage], Descriptors]


@dataclass(frozen=True)
class Answers:
    """Something that answers questions.

    Attributes:
        predicts: it answers those of every subtask, and of cities whose ground truth is not there.
        knows_size: it is a network of ours, so that the protocol says the size of its pictures.
    """

    answer: Answer
    predicts: bool = True
    knows_size: bool = False


@dataclass(frozen=True)
class Measured:
    """An evaluation, the protocol that it holds for, and what a person should know of it."""

    evaluation: Evaluation
    protocol: Protocol
    notes: tuple[str, ...]


def measure(trial: TrialSpec, answers: Answers) -> Measured:
    """Ask what the trial's protocol asks of its validation cities, and count.

    Args:
        trial: says the data set and the protocol; of one that was never trained, `TrialSpec()` with `data` and
            `evaluate` set does. One of its `judgements`, where a trial has several data sets.

    Raises:
        UserError: cities that cannot be read, no query that counts, or answers that cannot be used.
    """
    layout = layout_of(trial.data)
    check_apart(trial.data.model_copy(update={"train": ()}))  # those that a trial trained on may be gone
    cities = [layout.read(name) for name in trial.data.validate_cities]
    tasks = build_tasks(cities, trial)
    # A file of predictions answers one subtask: its galleries were those of that one.
    subtasks: dict[str, list[Task]] = {trial.evaluate.subtask: tasks}
    if answers.predicts:
        subtasks = breakdown_tasks(cities, trial) | subtasks
    evaluation, said = answers.answer(trial, tasks, Extra(subtasks))
    protocol = describe_protocol(tasks, trial, dataset_digest(trial.data, trial.data.validate_cities))
    if not answers.knows_size:
        protocol = protocol.model_copy(update={"image_size": None})
    left_out = [words for city in cities for words in left_out_words(city)]
    return Measured(evaluation, protocol, (*unasked(tasks, trial), *left_out, *said))


def predict(trial: TrialSpec, answers: Answers, cities: Sequence[str], path: Path) -> int:
    """Write predictions for cities whose ground truth is not there; returns for how many queries.

    Raises:
        UserError: as `measure`.
    """
    layout = layout_of(trial.data)
    tasks = [prediction_task(layout.read(city), trial.evaluate) for city in cities]
    evaluation, _ = answers.answer(trial, tasks, NOTHING)
    predictions = evaluation.ranking.predictions
    write_submission(path, predictions)
    return sum(map(len, predictions.values()))


def from_files(paths: Sequence[Path]) -> Answers:
    """Files of descriptors answer (`descriptor_files.read_descriptors`)."""
    return _from_descriptors(lambda wanted, storage: read_descriptors(paths, wanted, storage))


def from_arrays(parts: Sequence[Part]) -> Answers:
    """Descriptors that are in memory answer (`descriptor_files.part_of` makes a part)."""
    return _from_descriptors(lambda wanted, storage: gathered(parts, wanted, storage))


def _from_descriptors(read: Reading) -> Answers:
    def answer(trial: TrialSpec, tasks: Sequence[Task], extra: Extra) -> tuple[Evaluation, Sequence[str]]:
        learning = learning_rows(trial.evaluate, tasks, ())
        descriptors = read(wanted_rows(tasks, learning, extra), trial.evaluate.storage)
        return assess(descriptors, trial.evaluate, tasks, learning, extra), ()

    return Answers(answer)


def from_predictions(given: Path | Mapping[str, Sequence[str]]) -> Answers:
    """What was retrieved answers: a file (`predictions.read_predictions`), or the keys found by a query's key."""

    def answer(trial: TrialSpec, tasks: Sequence[Task], extra: Extra) -> tuple[Evaluation, Sequence[str]]:
        if isinstance(given, Path):
            ranking, said = read_predictions(given, tasks, trial.evaluate.gallery)
        else:
            ranking, said = taken_predictions(given, tasks, trial.evaluate.gallery)
        return Evaluation(ranking, subtasks=dict.fromkeys(extra.subtasks, ranking)), said

    return Answers(answer, predicts=False)


def check_foreign(trial: TrialSpec, answers: Answers, where: Callable[[str], str], name: str) -> None:
    """What files and arrays cannot be asked, which a network of ours can.

    Args:
        where: how a key of the protocol is typed; name: what the answers are called.

    Raises:
        UserError: they are asked it.
    """
    spec = trial.evaluate
    if not answers.predicts and (spec.whitening != "none" or spec.storage != "float32"):
        remedy = f"Leave out {where('whitening')} and {where('storage')}."
        raise UserError(name, "a file of predictions has no descriptors", None, remedy)
    if spec.whitening == "train":
        fault = "files have no training images to learn it on, as a trial has"
        raise UserError(where("whitening"), fault, "train", "Say database.")
