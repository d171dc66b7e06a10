"""What is evaluated: a trial, files, or arrays. The command and `vprdist.evaluate` share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vprdist.console import Bar
from vprdist.errors import UserError
from vprdist.spec.choices import Choices, under, without_network
from vprdist.spec.trial import TrialSpec
from vprdist.status.find import find_trial
from vprdist.store.trial_folder import TrialFolder

if TYPE_CHECKING:
    from vprdist.evaluation.measure import Answers

DESCRIPTORS, PREDICTIONS = (".npz", ".npy"), (".txt", ".csv")


@dataclass(frozen=True)
class Source:
    """What is evaluated: a spec that says how, something that answers questions, and where results go by default."""

    name: str
    trial: TrialSpec
    answers: Answers
    out: Path

    @property
    def judged(self) -> Sequence[TrialSpec]:
        """The trial as each of its data sets is evaluated."""
        return [*self.trial.judgements.values()] or [self.trial]


def named_source(words: Sequence[str], choices: Choices, runs: Path, bar: Bar) -> Source:
    """A trial, one file of predictions, or files of descriptors, as a person names them.

    Args:
        bar: opens a progress bar with a title.

    Raises:
        UserError: there is none of that name, or a protocol that it cannot be asked under.
    """
    paths = [Path(word) for word in words]
    suffixes = {path.suffix for path in paths if path.is_file()}
    missing = [path for path in paths if not path.is_file()]
    if missing and (suffixes or any(path.suffix in (*DESCRIPTORS, *PREDICTIONS) for path in missing)):
        raise UserError(missing[0], "there is no such file", None, "Name files alone, or one trial.")
    if suffixes and suffixes <= set(DESCRIPTORS):
        return described(paths, choices)
    if len(paths) == 1 and suffixes <= set(PREDICTIONS):
        return predicted(paths[0], choices) if suffixes else of_trial(words[0], choices, runs, bar)
    fault = "what is evaluated must be one trial, one file of predictions (.txt, .csv), or descriptors (.npz, .npy)"
    raise UserError("what", fault, " ".join(words), "See vprdist evaluate --help.")


def of_trial(word: str, choices: Choices, runs: Path, bar: Bar) -> Source:
    """A finished trial, by the words that `vprdist evaluate` takes, or by its folder.

    Raises:
        UserError: as `named_source`.
    """
    folder = TrialFolder(Path(word))
    if not folder.trial_file.is_file():
        folder = find_trial(runs, word)
    trial = under(folder.trial(), choices)
    from vprdist.training.again import from_trial

    name = word if word == folder.trial_id else f"{word} (trial {folder.trial_id})"
    return Source(name, trial, from_trial(folder, bar), folder.path / "evaluations")


def described(given: Sequence[Path] | Sequence[tuple[str, Any, Any]], choices: Choices) -> Source:
    """Descriptors: files, or (what they are called, keys, values).

    Raises:
        UserError: as `named_source`; arrays that are no descriptors.
    """
    trial = without_network(choices)
    from vprdist.evaluation import measure
    from vprdist.evaluation.descriptor_files import part_of

    files = [each for each in given if isinstance(each, Path)]
    parts = [part_of(*each) for each in given if not isinstance(each, Path)]
    answers = measure.from_files(files) if files else measure.from_arrays(parts)
    name = ", ".join(str(each if isinstance(each, Path) else each[0]) for each in given)
    measure.check_foreign(trial, answers, choices.word, name)
    return Source(name, trial, answers, _beside(files[0] if files else Path("descriptors")))


def predicted(given: Path | Mapping[str, Sequence[str]], choices: Choices) -> Source:
    """Predictions: a file, or by a query's key the keys that were retrieved for it.

    Raises:
        UserError: as `named_source`.
    """
    trial = without_network(choices)
    from vprdist.evaluation import measure

    answers = measure.from_predictions(given)
    name = str(given) if isinstance(given, Path) else "predictions"
    measure.check_foreign(trial, answers, choices.word, name)
    return Source(name, trial, answers, _beside(given if isinstance(given, Path) else Path(name)))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.evaluations")
