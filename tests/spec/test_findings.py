"""What pydantic finds is said in our words, whatever it finds, and at the key that a person wrote."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError
from pydantic_core._pydantic_core import list_all_errors

from vprdist.spec.base import Spec
from vprdist.spec.findings import NO_KEY, WANTED, finding_of, findings_of
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.search import SearchSpec
from vprdist.spec.sweep import SweepSpec

WORDING = re.compile(
    r"should|input\b|permitted|\bvalid (string|int|num|bool|tuple|list|dict|array)|required|pydantic", re.I
)
KINDS = {each["type"]: each for each in list_all_errors()}
OURS = ("value_error", "assertion_error", "extra_forbidden", "missing", *NO_KEY)


class Part(Spec):
    depth: float = 1.0


class Whole(Spec):
    """A field of each form that our specs have."""

    word: Literal["a", "b"] = "a"
    number: Literal[8, 16] | None = None
    count: Annotated[int, Field(ge=1, le=9)] = 1
    share: float = Field(default=0.5, gt=0, lt=1)
    flag: bool = False
    names: str | tuple[str, ...] | None = None
    take: Literal["all", "none"] | tuple[tuple[str, ...], ...] | None = None
    pair: tuple[int, int] = (1, 2)
    some: tuple[int, ...] = Field(default=(1,), min_length=1)
    text: str = Field(default="a", pattern="^[a-z]$")
    part: Part = Part()
    parts: dict[str, Part] = Field(default_factory=dict)
    either: Part | Literal["x"] = "x"


def raised(kind: str) -> ValidationError:
    """An error of a kind, its bounds filled in."""
    bounds = dict(KINDS[kind]["example_context"] or {})
    bounds |= {"min_length": 2} if "min_length" in bounds else {}  # longer than what was found
    line: Any = {"type": kind, "loc": ("word",), "input": [1], "ctx": bounds}
    return ValidationError.from_exception_data("Whole", [line])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OURS])
def test_every_kind_of_error_has_our_words(kind):
    found = finding_of(raised(kind), Whole)
    assert not WORDING.search(f"{found.fault} {found.remedy}"), found
    assert found.key == ("word",)


def kinds_of(schema: Any) -> set[str]:
    """The kinds of value in a core schema."""
    if isinstance(schema, dict):
        own = {schema["type"]} if isinstance(schema.get("type"), str) else set()
        return own.union(*(kinds_of(each) for each in schema.values()))
    return set().union(*(kinds_of(each) for each in schema)) if isinstance(schema, (list, tuple)) else set()


@pytest.mark.parametrize("model", [SweepSpec, SearchSpec, ClusterProfile, Whole])
def test_a_new_kind_of_value_needs_words(model):
    """What a file may hold, each with the errors that strict reading of JSON has for it."""
    errors = {
        "str": ["string_type", "string_pattern_mismatch", "string_too_short", "string_too_long"], "int": ["int_type"],
        "float": ["float_type", "finite_number", "greater_than", "greater_than_equal", "less_than", "less_than_equal"],
        "bool": ["bool_type"], "tuple": ["tuple_type", "too_short", "too_long"], "list": ["list_type"],
        "dict": ["dict_type"], "literal": ["literal_error"], "model": ["model_type"], "none": ["none_required"],
    }  # fmt: skip
    around = {
        "any", "default", "nullable", "union", "model-field", "model-fields", "function-after", "function-before",
        "function-plain", "function-wrap", "definitions", "definition-ref", "no-info", "with-info", "model-ser",
        "include-exclude-sequence", "include-exclude-dict", "missing", "always", "json", "to-string",
    }  # fmt: skip
    kinds = kinds_of(model.__pydantic_core_schema__)
    assert kinds <= errors.keys() | around, "tell how a wrong value of this kind is said"
    assert {name for kind in kinds & errors.keys() for name in errors[kind]} <= WANTED.keys()


@pytest.mark.parametrize(
    ("value", "key", "words"),
    [
        ({"word": "c"}, "word", "no such word: 'c' Valid: a, b."),
        ({"word": 3}, "word", "this must be a or b: 3"),
        ({"number": 9}, "number", "this must be 8 or 16: 9"),
        ({"count": 0}, "count", "this must be at least 1: 0"),
        ({"count": 2.0}, "count", "this must be a whole number: 2.0 Write 2."),
        ({"count": "1_000"}, "count", "this must be a whole number: '1_000' Write 1000."),
        ({"count": "1:30"}, "count", "this must be a whole number: '1:30' Write one number."),
        ({"count": None}, "count", "this must be a whole number: None It is null"),
        ({"share": 1}, "share", "this must be below 1: 1"),
        ({"flag": "no"}, "flag", "this must be true or false: 'no' Write false."),
        ({"flag": "on"}, "flag", "this must be true or false: 'on' Write true."),
        ({"names": 3}, "names", "this must be text or a list: 3 Write text in quotes."),
        ({"names": {"str": 3}}, "names", "this must be text or a list"),
        ({"names": ["a", 3]}, "names.1", "this must be text: 3"),
        ({"take": 3}, "take", "this must be all or none or a list: 3"),
        ({"take": "al"}, "take", "no such word: 'al' Did you mean 'all'?"),
        ({"take": [["a"], 3]}, "take.1", "this must be a list: 3 Write [3]."),
        ({"pair": [1]}, "pair.1", "this key is missing"),
        ({"pair": [1, 2, 3]}, "pair", "this must be a list of at most 2 values"),
        ({"some": []}, "some", "this must be a list of at least one value"),
        ({"some": ["x"]}, "some.0", "this must be a whole number: 'x'"),
        ({"text": "AA"}, "text", "this must be text of the form ^[a-z]$: 'AA'"),
        ({"part": []}, "part", "this must be a mapping of keys: []"),
        ({"part": {"dept": 3}}, "part.dept", "unknown key: None Did you mean 'depth'?"),
        ({"parts": {"str": {"depth": "x"}}}, "parts.str.depth", "this must be a number: 'x'"),
        ({"parts": {"a[0]": {"int": 1}}}, "parts.a[0].int", "unknown key"),
        ({"either": {"depth": "x"}}, "either.depth", "this must be a number"),
        ({"a[0]": 1}, "a[0]", "unknown key"),
        ({"int": 1}, "int", "unknown key"),
    ],
)  # fmt: skip
def test_a_finding_is_at_the_key_that_was_written(value, key, words):
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(value, strict=False) if "pair" in value else read(value)
    found = findings_of(caught.value, Whole)
    assert len(found) == 1, found
    assert ".".join(found[0].key) == key
    assert f"{found[0].fault}: {found[0].value!r} {found[0].remedy}".startswith(words) or words in found[0].fault


def read(value: dict[str, Any]) -> Whole:
    return Whole.model_validate_json(json.dumps(value), strict=True)
