"""A named choice: one word of a registry, or a user's own class, with parameters beside the name.

    aggregator: gem
    aggregator: {name: gem, p: 4}
    aggregator: {name: my_pool.py:Pool, width: 32}
    backbone: torchscript:net.pt        short for {name: torchscript, file: net.pt}

Each kind of choice has a door: the built-in names, each with the class that it stands for, its parameters as a pydantic
model, and facts that must be known before torch loads. `spec.doors` lists the doors.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError, create_model, model_serializer, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.files import at_home
from vprdist.spec.base import Spec, marks_of
from vprdist.spec.findings import finding_of
from vprdist.spec.own_code import FORMS, checked_parameters, class_name, is_own, read_own, settled
from vprdist.spec.own_load import blamed, load_own, place_of_class


class NoParameters(Spec):
    """A choice that has none."""


def parameters(**fields: Any) -> type[Spec]:
    """A model of parameters: each a pair of a type and a `pydantic.Field` with default, bounds and meaning."""
    return create_model("Parameters", __base__=Spec, **fields)


@dataclass(frozen=True)
class BuiltIn:
    """What a word stands for.

    Attributes:
        target: `module:Name`, loaded where it is needed.
        parameters: those that a file may give.
        facts: what must be known of it before torch loads.
        fixed: further arguments of the class, which no file gives.
        short: the parameter that may stand behind the word and a colon.
        example: a word with it, for messages.
        path: the parameter that is a path, or a name in a local store: its content is hashed, as a digest.
        titled: the parameters that tables show in the word's place; of a path its last part.
        extra: what must be installed beside vprdist for it: `pip install 'vprdist[EXTRA]'`.
    """

    target: str
    parameters: type[Spec] = NoParameters
    facts: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    short: str = ""
    example: str = ""
    path: str = ""
    titled: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class Door:
    """One kind of choice.

    Attributes:
        word: what it is called in messages.
        built_in: the registry.
        provided: arguments that vprdist passes to every class of the kind.
        offered: arguments that it passes to those classes alone whose fact `asks` names them.
        facts: names of the facts that a user's class may state, with their defaults.
        beside: keys that may stand beside the parameters of every user's class; they are the choice's, not the class's.
        default: what parameters without a name are those of; None: a name is needed.
    """

    word: str
    built_in: Mapping[str, BuiltIn]
    provided: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    beside: type[Spec] = NoParameters
    default: str | None = None


class Named(Spec):
    """One choice; its subclasses say of which kind.

    Attributes:
        name: a built-in word, or a user's own class.
        parameters: all of a built-in's; of a user's class those given, and its plain defaults.
        facts: of a user's class, as its file stated them when the sweep was read; never written by hand.
        digest: of the text of the user's file then; null for a built-in.
    """

    door: ClassVar[Door]

    name: str
    parameters: dict[str, Any]
    facts: dict[str, Any]
    digest: str | None = None

    @classmethod
    def of(cls, name: str, **more: Any) -> Self:
        """A choice by its name and parameters."""
        return cls.model_validate({"name": name, **more})

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        """A word, or a mapping with the parameters beside the name."""
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            raise RuleError("name", f"a {cls.door.word} must be a word or {{name: …, parameters}}", value)
        if isinstance(value.get("facts"), dict) and isinstance(value.get("parameters"), dict):
            more = {key: each for key, each in value.items() if key not in cls.model_fields}
            if not more:
                return value  # as a trial's own file has it
            if cls._is_past(value) and more.keys() <= value["parameters"].keys() | cls.door.beside.model_fields.keys():
                # A finished sweep stays what it was; where its class is loaded, the other text is refused.
                return {**{key: value[key] for key in cls.model_fields}, "parameters": value["parameters"] | more}
            value = {"name": value["name"], **value["parameters"], **more}  # and a value laid over it
        elif ours := next((key for key in cls.model_fields if key != "name" and key in value), None):
            raise RuleError(ours, "unknown key", None, "Parameters stand beside the name: {name: …, …}.")
        name = value.get("name", cls.door.default)
        given = {key: each for key, each in value.items() if key != "name"}
        if name is None:
            raise RuleError("name", f"parameters of a {cls.door.word} need its name", None, "Write {name: …, …}.")
        if not isinstance(name, str):
            raise RuleError("name", f"the name of a {cls.door.word} must be a word", name)
        name, given = cls._unfolded(name, given)
        cls._check_short(name, given)
        return cls._built_in(name, given) if name in cls.door.built_in else cls._own(name, given)

    @classmethod
    def _unfolded(cls, name: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """`word:VALUE` as the word, with the value among the parameters."""
        word, colon, value = name.partition(":")
        short = cls.door.built_in[word].short if colon and word in cls.door.built_in else ""
        if not short:
            return name, given
        if short in given:
            raise RuleError(short, f"{short} is written twice: {name} says it too", given[short], "Delete one of them.")
        return word, {**given, short: value}

    @classmethod
    def _check_short(cls, name: str, given: Mapping[str, Any]) -> None:
        """The one parameter that a word cannot be without is there, by its name.

        Raises:
            RuleError: it is not; the remedy shows how it is written.
        """
        chosen = cls.door.built_in.get(name)
        if chosen is None or not chosen.short or chosen.short in given:
            return
        fields = chosen.parameters.model_fields
        if fields[chosen.short].is_required():
            other = next((key for key in given if key not in fields), None)
            example = chosen.example or f"{name}:…"
            if other is not None:
                raise RuleError(other, "unknown key", None, f"Did you mean {chosen.short!r}? Short: {example}.")
            fault = f"a {cls.door.word} of {name} needs its {chosen.short}"
            raise RuleError(chosen.short, fault, None, f"Write {example}, or {{name: {name}, {chosen.short}: …}}.")

    @classmethod
    def _is_past(cls, value: dict[str, Any]) -> bool:
        """Whether a user's file is another than when the choice was read, or is not there any more."""
        if value.get("digest") is None:
            return False
        try:
            return bool(read_own(value["name"]).digest != value["digest"])
        except RuleError:
            return True

    @classmethod
    def _built_in(cls, name: str, given: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "parameters": _checked(cls.door.built_in[name].parameters, given), "facts": {}}

    @classmethod
    def _own(cls, name: str, given: dict[str, Any]) -> dict[str, Any]:
        if not is_own(name):
            remedy = f"{nearest(name, cls.door.built_in)} Your own: {FORMS}."
            raise RuleError("name", f"no such {cls.door.word}", name, remedy)
        own = read_own(name)
        beside = {key: given[key] for key in cls.door.beside.model_fields if key in given}
        given = {key: each for key, each in given.items() if key not in beside}
        facts = {key: own.facts[key] for key in cls.door.facts if key in own.facts}
        provided = (*cls.door.provided, *cls._asked(own.name, facts.get("asks", ())))
        chosen = checked_parameters(own, given, provided) | _checked(cls.door.beside, beside)
        facts = json.loads(json.dumps(facts))
        return {"name": name, "parameters": chosen, "facts": facts, "digest": own.digest}

    @classmethod
    def _asked(cls, name: str, asks: Any) -> tuple[str, ...]:
        """What a user's class wants to be made with beside its parameters.

        Raises:
            RuleError: something that nobody can tell it.
        """
        known = cls.door.offered
        if isinstance(asks, (list, tuple)) and all(each in known for each in asks):
            return tuple(asks)
        fault = f"the class {name} must ask for no other than {', '.join(known)}"
        raise RuleError("name", fault, asks, f'Write asks = ("{known[0]}",) in its body, or delete it.')

    @model_serializer
    def _write(self) -> Any:
        """A word where it says all; else as a file would have it, or with what a user's file stated."""
        if self.is_own:
            return {"name": self.name, "parameters": self.parameters, "facts": self.facts, "digest": self.digest}
        return {"name": self.name, **self.parameters} if self.parameters else self.name

    @classmethod
    def word_over(cls, word: str, before: Any) -> Any:
        """A built-in word in the place of an earlier choice; it keeps the parameters of one that has the same ones."""
        if word not in cls.door.built_in or not isinstance(before, dict):
            return word
        earlier = cls.door.built_in.get(before.get("name", cls.door.default) or "")
        if earlier is None or earlier.parameters is not cls.door.built_in[word].parameters:
            return word
        return {**before, "name": word}

    @property
    def is_own(self) -> bool:
        """Whether it is a user's class."""
        return self.name not in self.door.built_in

    @property
    def title(self) -> str:
        """For tables: the word, or the class's name; of a network from elsewhere, what it is called there."""
        chosen = self.door.built_in.get(self.name)
        shown = [str(self.parameters[name]) for name in chosen.titled] if chosen else []
        return ":".join(Path(each).name for each in shown) or class_name(self.name)

    @property
    def extra(self) -> str:
        """The extra of vprdist that it needs; empty: none."""
        return "" if self.is_own else self.door.built_in[self.name].extra

    def fact(self, name: str) -> Any:
        """A fact of the choice: its own, or the kind's default."""
        facts = self.facts if self.is_own else self.door.built_in[self.name].facts
        return facts.get(name, self.door.facts[name])

    def as_written(self) -> Any:
        """As a sweep file has it."""
        return {"name": self.name, **self.parameters} if self.parameters else self.name

    def hashed(self) -> Any:
        """What identifies the choice: where a user's file lies does not, its text does (`Digests.code`).

        A parameter that a built-in got later is made by `hashed_unless`, as every spec's field: earlier ids stay.
        """
        if self.is_own:
            name, chosen = f"own:{class_name(self.name)}", self.parameters
        else:
            name, built_in = self.name, self.door.built_in[self.name]
            left = {built_in.path, *_as_before(built_in.parameters, self.parameters)}
            chosen = {key: value for key, value in self.parameters.items() if key not in left}
        return {"name": name, **chosen} if chosen else name

    @property
    def path(self) -> str | None:
        """The path that a built-in is given, as it is written; None: it has none."""
        name = "" if self.is_own else self.door.built_in[self.name].path
        return str(self.parameters[name]) if name else None

    @classmethod
    def anchored(cls, value: Any, folder: Path, parameter: str = "") -> Any:
        """A choice as a file writes it, with absolute paths, counted from `folder`; other values are left alone.

        Args:
            parameter: `value` is that parameter's alone.
        """
        if parameter:
            has = any(each.path == parameter for each in cls.door.built_in.values())
            return anchored_path(value, folder) if has and isinstance(value, str) else value
        if isinstance(value, str):
            word, colon, rest = value.partition(":")
            chosen = cls.door.built_in.get(word)
            if colon and chosen is not None and chosen.short and chosen.short == chosen.path:
                return f"{word}:{anchored_path(rest, folder)}"
            return settled(value, folder)
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            name, value = value["name"], {**value, "name": cls.anchored(value["name"], folder)}
            path = cls.door.built_in[name].path if name in cls.door.built_in else ""
            if isinstance(value.get(path), str):
                value[path] = anchored_path(value[path], folder)
        return value

    def settled(self, folder: Path) -> Self:
        """The same with an absolute path, counted from `folder`."""
        return self.model_copy(update={"name": settled(self.name, folder)})

    def make(self, **provided: Any) -> Any:
        """An object of the class, made with its parameters and what vprdist passes.

        Raises:
            OwnCodeError: a user's class that cannot be loaded, or another text than when the sweep was read.
        """
        own = {key: each for key, each in self.parameters.items() if key not in self.door.beside.model_fields}
        if self.is_own:
            made = load_own(self.name, self.digest)
            with blamed(self.name, otherwise=place_of_class(self.name)):
                return made(**provided, **own)
        chosen = self.door.built_in[self.name]
        return load_built_in(chosen)(**provided, **chosen.fixed, **own)


def anchored_path(written: str, folder: Path) -> str:
    """A path of a file, absolute; `OWNER/REPO` stays a name where no such folder is there."""
    path = (folder / at_home(written)).absolute()
    plain = re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w./-]+)?", written) and written[0] not in ".~"
    return written if plain and not path.suffix and not path.exists() else os.path.normpath(path)


def _checked(model: type[Spec], given: dict[str, Any]) -> dict[str, Any]:
    try:
        # Through JSON, as every spec is read: a list may fill a tuple, all else stays strict.
        return model.model_validate_json(json.dumps(given), strict=True).model_dump(mode="json")
    except ValidationError as error:
        raise finding_of(error, model).as_rule() from None


def _as_before(model: type[Spec], given: Mapping[str, Any]) -> Iterator[str]:
    """The parameters that came later, and are at the value that keeps the behaviour of before."""
    for key, info in model.model_fields.items():
        marks = marks_of(info)
        if "hashed_unless" in marks and given.get(key) == json.loads(json.dumps(marks["hashed_unless"])):
            yield key


def load_built_in(chosen: BuiltIn) -> Any:
    """The class that a word stands for."""
    module, _, name = chosen.target.partition(":")
    return getattr(importlib.import_module(module), name)
