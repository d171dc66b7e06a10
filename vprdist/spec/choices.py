"""Another data set and protocol for a trial, as somebody chooses them who evaluates it again, or evaluates files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from vprdist.errors import UserError
from vprdist.spec.base import Names, Spec
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import MSLS, LayoutName, RerankName
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.read import Origin, validate
from vprdist.spec.trial import TrialSpec


class _Chosen(Spec):
    layout: LayoutName = Field(default=MSLS)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is chosen in the place of what a trial has; None: as the trial has it.

    Attributes:
        evaluate: keys of `evaluate` and their values, but for `rerank`.
        rerank: the second stage, as a sweep file has it; top: how many images it orders.
        asked: what messages call whoever asks: "vprdist evaluate".
        word: how a key is typed there: "--image-size"; example: how a data set and its cities are.
    """

    root: str | None = None
    layout: LayoutName | None = None
    leave_out: str | Names | None = None
    cities: Sequence[str] | None = None
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    rerank: Any = None
    top: int | None = None
    asked: str
    word: Callable[[str], str]
    example: str

    @property
    def origin(self) -> Origin:
        """Where its values come from, for messages."""
        return Origin(Path(self.asked))


def chosen_layout(value: Any, where: str) -> LayoutName:
    """A layout as a sweep file writes it: a name, or a mapping of a name and parameters. A path counts from the working
    folder.

    Raises:
        SweepFileError: no such layout or file, or parameters that it does not have.
    """
    chosen = validate(_Chosen, {"layout": value}, Origin(Path(where))).layout
    settled: LayoutName = chosen.settled(Path.cwd())
    return settled


def under(trial: TrialSpec, choices: Choices) -> TrialSpec:
    """The trial on the data set and under the protocol that were chosen.

    Raises:
        UserError: an impossible protocol.
    """
    changes = dict(choices.evaluate)
    if changes.get("whitening") == "none":
        changes.setdefault("dimensions", [])
    changes |= _second_stage(trial, choices)
    layout = choices.layout or trial.data.layout
    cities = tuple(choices.cities) if choices.cities else trial.data.validate_cities
    asked = trial.evaluate.of_set.items()  # what is chosen holds on every data set
    sets = {layout.set_of(city) for city in cities}
    own = {name: each.model_dump(mode="json", exclude_none=True) for name, each in asked if name in sets}
    changes["of_set"] = {name: {key: each[key] for key in each if key not in changes} for name, each in own.items()}
    values: Mapping[str, Any] = {**trial.evaluate.model_dump(mode="json"), **changes}
    evaluate = validate(EvaluateSpec, values, choices.origin)
    if (impossible := trial.size_fault(evaluate.image_size)) is not None:
        raise UserError(choices.word("image_size"), impossible.fault, impossible.value, impossible.remedy)
    changed = trial.model_copy(update={"evaluate": evaluate, "data": _data(trial, choices, layout, cities)})
    if (wrong := changed.set_fault()) is not None:
        remedy = f"Say {choices.word('subtask')} and {choices.word('queries')}."
        raise UserError(f"{choices.asked}: {wrong.field}", wrong.fault, wrong.value, remedy)
    if evaluate.rerank != trial.evaluate.rerank:  # what a trial allows
        validate(TrialSpec, {**trial.to_json(), "evaluate": evaluate.model_dump(mode="json")}, choices.origin)
    return changed


def _data(trial: TrialSpec, choices: Choices, layout: LayoutName, cities: Sequence[str]) -> DataSpec:
    root = trial.data.root if choices.root is None else choices.root
    place: dict[str, Any] = {"root": root, "layout": layout.model_dump(mode="json"), "validate": cities, "demo": None}
    if layout != trial.data.layout:  # there its training cities are called otherwise
        place |= {"train": [], "shares": {}}
    written = trial.data.model_dump(mode="json", by_alias=True) | place
    data = validate(DataSpec, written, choices.origin)
    left_out = trial.data.leave_out if choices.leave_out is None else choices.leave_out
    data = data.model_copy(update={"leave_out": left_out})
    if choices.root is not None or choices.layout is not None:  # the trial's pack is of its own data
        data = data.model_copy(update={"pack": None})
    return data


def _second_stage(trial: TrialSpec, choices: Choices) -> dict[str, Any]:
    """The re-ranker that was chosen, as a file would have it."""
    if choices.rerank is None and choices.top is None:
        return {}
    before = trial.evaluate.rerank.as_written()
    chosen = before if choices.rerank is None else RerankName.anchored(choices.rerank, Path.cwd())
    if choices.top is None:
        return {"rerank": chosen}
    return {"rerank": {**(chosen if isinstance(chosen, dict) else {"name": chosen}), "top": choices.top}}


def without_network(choices: Choices) -> TrialSpec:
    """What is known of a network that was trained elsewhere: nothing but where its pictures lie.

    Raises:
        UserError: no data set or no city of it is named, or something is chosen that a network of ours must do.
    """
    word = choices.word
    if choices.root is None or not (choices.cities or choices.evaluate.get("predict")):
        fault = "files need the cities of a data set"
        raise UserError(f"{word('root')} and {word('cities')}", fault, None, f"Say {choices.example}.")
    if (size := choices.evaluate.get("image_size")) is not None:
        raise UserError(word("image_size"), "the size of pictures cannot be chosen for files", size, "Leave it out.")
    if choices.rerank is not None or choices.top is not None:
        fault = "files have no local features, so that no second stage can be chosen"
        raise UserError(word("rerank" if choices.rerank is not None else "top"), fault, None, "Leave it out.")
    return under(TrialSpec(), choices)
