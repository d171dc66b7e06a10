"""Options are the same words for the same things in every command; old spellings work, and say the new ones."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from vprdist.cli import main
from vprdist.cli.commands import _parse, _parser
from vprdist.cli.sweep import build_parser

OLD = {"--city": "--cities"}
"""Spellings of earlier versions: they are nowhere in a help."""
SEVERAL_HERE_ONE_THERE = {"--cities"}
"""A sheet is drawn of one city."""


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from parsers(each)


def options() -> Iterator[tuple[str, str, argparse.Action]]:
    """(command, option, what it does) of every command."""
    for parser in (*parsers(_parser()), build_parser("vprdist sweep")):
        for action in parser._actions:
            for option in action.option_strings:
                yield parser.prog, option, action


def test_one_word_takes_one_kind_of_value_everywhere() -> None:
    forms: dict[str, dict[tuple[object, ...], list[str]]] = {}
    for command, option, action in options():
        if action.help != argparse.SUPPRESS:
            nargs = None if option in SEVERAL_HERE_ONE_THERE else action.nargs
            form = (type(action).__name__, action.type, nargs, action.metavar)
            forms.setdefault(option, {}).setdefault(form, []).append(command)
    several = {option: found for option, found in forms.items() if len(found) > 1}
    assert not several, "\n".join(f"{option}: {found}" for option, found in several.items())
    assert len(forms["--cities"]) == 1 and len(next(iter(forms["--cities"].values()))) >= 5


def test_a_word_and_its_plural_are_not_two_options() -> None:
    shown = {option for _, option, action in options() if action.help != argparse.SUPPRESS}
    pairs = {(a, b) for a in shown for b in shown if b in (f"{a}s", f"{a.removesuffix('y')}ies")}
    assert not pairs
    hidden = {option for _, option, action in options() if action.help == argparse.SUPPRESS}
    assert hidden == {*OLD, "--size"}


def test_pictures_have_an_image_size_and_activations_a_size() -> None:
    takers = {option: {command for command, each, action in options() if each == option
                       and action.help != argparse.SUPPRESS} for option in ("--image-size", "--size")}  # fmt: skip
    assert takers["--image-size"] == {
        "vprdist evaluate",
        "vprdist data demo",
        "vprdist cache build",
        "vprdist data pack",
    }
    assert takers["--size"] == {"vprdist cache build", "vprdist cache import", "vprdist cache export"}


BUILD = ["cache", "build", "--data", "d", "--out", "o", "--segmenter", "s"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([*BUILD, "--city", "a", "--city", "b"], [*BUILD, "--cities", "a", "b"], "--city is now --cities"),
        (["data", "info", "r", "--city=a"], ["data", "info", "r", "--cities", "a"], "--city is now --cities"),
        (["data", "info", "--city", "a", "r"], ["data", "info", "r", "--cities", "a"], "--city is now --cities"),
        (["data", "sheet", "f", "o", "--city", "a"], ["data", "sheet", "f", "o", "--cities", "a"], "now --cities"),
        (["data", "demo", "o", "--size", "4", "6"], ["data", "demo", "o", "--image-size", "4", "6"], "--image-size"),
    ],
)  # fmt: skip
def test_an_old_spelling_does_the_same_and_says_the_new_one(
    old: list[str], new: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vars(_parse(old)) == vars(_parse(new))
    out, err = capsys.readouterr()
    assert said in err and not out
    _parse(new)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--watch", "0"], ["--watch=0"], ["--watch", "--every", "0"]])
def test_a_page_is_watched_at_the_same_words_as_a_sweep(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", "mine", *words, "--runs", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "--every: a page can be written every second, not more often: 0.0." in err
    assert ("--watch 0 is now --watch --every 0" in err) == ("--every" not in words)
    for name in ("status", "leaderboard"):
        args = _parse([name, "--watch", "mine"])
        assert args.watch is True and args.sweep == "mine", "a name is no number of seconds"
