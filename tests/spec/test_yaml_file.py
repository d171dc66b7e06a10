"""YAML means what people mean by it; what they cannot have meant is refused, with its line."""

from __future__ import annotations

import pytest

from vprdist.errors import SweepFileError
from vprdist.spec.yaml_file import parse_value, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"), ("1:30:05", "1:30:05"), ("1_000", "1_000"), ("0x10", 16), ("0o17", 15), ("0b101", "0b101"),
        ("1e-3", 1e-3), ("1E5", 1e5), (".5", 0.5), ("-3.", -3.0), ("+7", 7), ("0", 0), ("-0", 0), ("0.50", 0.5),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("False", False),
        ("2024-01-01", "2024-01-01"), ("2024-1-1", "2024-1-1"), ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("~", None), ("null", None), ("", None), ("=", "="), ("<<", "<<"), (".inf", ".inf"), (".nan", ".nan"),
        ('"010"', "010"), ("'no'", "no"), ("0-2", "0-2"), ("10.0.0.1", "10.0.0.1"), ("1e", "1e"), ("0x", "0x"),
    ],
)  # fmt: skip
def test_a_plain_word_is_what_people_mean(text, value):
    found = parse_value(text, "here")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["010", "007", "-01", "+00", "08", "00"])
def test_a_number_that_readers_of_yaml_take_for_two_is_refused(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(f"# first\ntrial:\n  train:\n    steps: {text}\n")
    with pytest.raises(SweepFileError) as caught:
        read_yaml(file)
    assert "a.yaml:4: trial.train.steps: a whole number cannot begin with 0: some read it as octal" in str(caught.value)
    assert f"Write {int(text)}, or in quotes" in str(caught.value)
    with pytest.raises(SweepFileError, match=r"^override 'a=[^']*': 1: a whole number cannot begin with 0"):
        parse_value(f"[1, {text}]", f"override 'a=[1, {text}]'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: a: a key is written twice; the first stands in line 1"),
        ("a:\n  b: 1\n  b: 2\n", ":3: a.b: a key is written twice; the first stands in line 2"),
        ("a: 1\n<<: {b: 1}\n", None),
        ("a: !!int x\n", "must be YAML"),
        ("a: !!set {b}\n", ":1: a: a value cannot have a tag: 'tag:yaml.org,2002:set'"),
        ("a: 1\nb: !!timestamp 2024-01-01\n", ":2: b: a value cannot have a tag"),
        ("a: !!python/object/apply:os.getcwd []\n", ":1: a: a value cannot have a tag"),
        ("a: 1\nb: " + "9" * 5000 + "\n", "must be YAML"),
        ("a: " + "[" * 1500 + "\n", "must be YAML"),
        ("a: \0\n", "must be YAML"),
        ("a: 1\n---\nb: 1\n", "must be YAML"),
        ("a: *b\n", ":1: the file must be YAML"),
        ("", "must be a mapping of keys"),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_nobody_means_is_refused_with_its_line(tmp_path, text, words):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    if words is None:
        assert read_yaml(file)[0] == {"a": 1, "<<": {"b": 1}}, "no merging: a key like others, which no spec has"
        return
    with pytest.raises(SweepFileError) as caught:
        read_yaml(file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
