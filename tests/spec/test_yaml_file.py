"""YAML means what people mean by it; what they cannot have meant is refused, with its line."""

from __future__ import annotations

import os
import re
from itertools import pairwise

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
        ("a: !!int x\n", ":1: a: a value cannot have a tag"),
        ("a: !!set {b}\n", ":1: a: a value cannot have a tag: 'tag:yaml.org,2002:set'"),
        ("a: 1\nb: !!timestamp 2024-01-01\n", ":2: b: a value cannot have a tag"),
        ("a: !!python/object/apply:os.getcwd []\n", ":1: a: a value cannot have a tag"),
        ("a: 1\nb: " + "9" * 5000 + "\n", ":2: b: a whole number must lie within 63 bits"),
        ("a: " + "[" * 1500 + "\n", ":1: lists and mappings may not lie deeper"),
        ("a: \0\n", "must be YAML"),
        ("a: 1\n---\nb: 1\n", "must be YAML"),
        ("a: *b\n", ":1: the file must be YAML"),
        ("", "must be a mapping of keys"),
        ("a: 1\nb: " + "[" * 500 + "]" * 500 + "\n", ":2: lists and mappings may not lie deeper than 32"),
        ("a:\n" + "".join(" " * i + "a:\n" for i in range(1, 400)), ":33: lists and mappings may not lie deeper"),
        ("a: &x0 [1, 2]\n" + "".join(f"a{i}: &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 60)),
         "than 100000 values"),
        ("a: &x0 {a: 1, b: 1}\n" + "".join(f"a{i}: &x{i} {{a: *x{i - 1}, b: *x{i - 1}}}\n" for i in range(1, 60)),
         "than 100000 values"),
        ("a: &x [1, 2]\n? [*x, *x]\n: 1\n", ":2: a key must be text; found 'a list or mapping'"),
        ("? !!str [a]\n: 1\n", ":1: a key must be text; found 'a list or mapping'"),
        ("a: &a [*a]\n", ":1: a.0: a value cannot contain itself"),
        ("a: 1\nb: 0x" + "f" * 5000 + "\n", ":2: b: a whole number must lie within 63 bits"),
        ("a: 9223372036854775808\n", ":1: a: a whole number must lie within 63 bits; found '9223372036854775808'"),
        ("a: [1, " + "0" * 5000 + "]\n", ":1: a.1: a whole number cannot begin with 0"),
        ("a: 1\nb: -1e999\n", ":2: b: this must be a finite number; found '-1e999'"),
        ("a: 1\nb: !!bool maybe\n", ":2: b: a value cannot have a tag: 'tag:yaml.org,2002:bool'"),
        ('a: 1\nb: "x\\0y"\n', ":2: b: text cannot have control characters: 'U+0000'"),
        ('a: {"x\\e[31my": 1}\n', ":1: a: text cannot have control characters: 'U+001B'"),
        ('a: "\\ud800"\n', ":1: a: text cannot have control characters: 'U+D800'"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', ":2: the file must be YAML"),
        ("a: 1\nb: 2\nc: x\x1by\n", ":3: the file must be YAML; found 'the character U+001B'"),
        ("a: " + "x" * 8_400_000, "larger than 8 MiB. Is it the right file? A long list of pictures may"),
        (b"a: 1\nb: \xff\n", ":2: the file must be UTF-8 text; found 'byte 0xff'. Save it as UTF-8."),
        ("a: 1\n".encode("utf-16"), "must be UTF-8 text; found 'UTF-16'. Save it as UTF-8."),
        ("<!DOCTYPE html>\n<html></html>", "must be YAML; found 'a web page'. Fetch the file itself"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "must be YAML; found 'a Git LFS pointer'"),
    ],
    ids=range(35),
)  # fmt: skip
def test_what_nobody_means_is_refused_with_its_line(tmp_path, text, words):
    file = tmp_path / "a.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    if words is None:
        assert read_yaml(file)[0] == {"a": 1, "<<": {"b": 1}}, "no merging: a key like others, which no spec has"
        return
    with pytest.raises(SweepFileError) as caught:
        read_yaml(file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 + len(str(file))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 500 + "]" * 500, "lists and mappings may not lie deeper than 32"),
        ("{a: 1, a: 2}", "a: a key is written twice"),
        ("9" * 5000, "a whole number must lie within 63 bits; found '999"),
        ("[1e999]", "0: this must be a finite number"),
        ('"a\\0b"', "text cannot have control characters"),
        ("a\0b", "the value must be YAML; found 'the character U+0000'"),
        ("{a: *b}", "the value must be YAML; found \"found undefined alias 'b'\". Quote it for the shell"),
        ("&a [*a]", "0: a value cannot contain itself"),
        ("!!python/name:os.system", "a value cannot have a tag"),
        (f"[&a [1, 2], {', '.join(f'&{new} [*{old}, *{old}]' for old, new in pairwise('abcdefghijklmnopqrstuv'))}]",
         "there may not be more than 100000 values"),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_value_of_the_command_line_is_read_within_the_same_bounds(text, words):
    with pytest.raises(SweepFileError, match=f"^override 'k': {re.escape(words)}") as caught:
        parse_value(text, "override 'k'")
    assert len(str(caught.value)) < 400


def test_a_list_of_thirty_thousand_pictures_is_read_and_one_of_millions_is_not_made_before_it_is_refused(tmp_path):
    file, names = tmp_path / "a.yaml", [f"amman/database/{number:022}" for number in range(30_000)]
    file.write_text("leave_out:\n" + "".join(f"- {name}\n" for name in names))
    assert file.stat().st_size > 2**20 and read_yaml(file)[0] == {"leave_out": names}
    file.write_text("leave_out: [" + "[" * 9 + "1," * 4_000_000)  # no end, so that the count is of what was made
    with pytest.raises(SweepFileError, match=r"more than 100000 values.*`leave_out: FILE`"):
        read_yaml(file)


def test_a_named_pipe_and_a_folder_are_no_files_of_settings(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, words in (("pipe.yaml", "this must be a file; found 'a named pipe lies"), ("", "found 'a folder lies")):
        with pytest.raises(SweepFileError, match=words):
            read_yaml(tmp_path / name)


def test_a_mark_of_utf8_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfname: a\r\nseeds: [1]\r\n")
    assert read_yaml(tmp_path / "a.yaml")[0] == {"name": "a", "seeds": [1]}


def test_what_an_alias_repeats_is_changed_in_one_place_alone(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &x {b: {c: 1}}\nd: *x\n")
    value, _ = read_yaml(tmp_path / "a.yaml")
    value["a"]["b"]["c"] = 2
    assert value["d"] == {"b": {"c": 1}}
