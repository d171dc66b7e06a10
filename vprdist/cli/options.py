"""Options that several commands have: the same words for the same things, and old spellings that still work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vprdist.console import Console


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add `--runs`."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where results are kept (default: %(default)s)")


def add_cities(parser: argparse.ArgumentParser, default: str, text: str = "only these cities") -> None:
    """Add `--cities A B`, which was `--city A`, given again for each."""
    parser.add_argument("--cities", nargs="+", metavar="CITY", help=f"{text} (default: {default})")
    old_spelling(parser, "--city", "--cities")


def add_city(parser: argparse.ArgumentParser, help: str) -> None:
    """Add `--cities A` where one is drawn, which was `--city A`."""
    parser.add_argument("--cities", metavar="CITY", help=help)
    old_spelling(parser, "--city", "--cities")


def add_every(parser: argparse.ArgumentParser, seconds: float) -> None:
    """Add `--every S`, which goes with `--watch`."""
    parser.add_argument(
        "--every", type=float, default=seconds, metavar="S", help="seconds between looks (default: %(default)g)"
    )


def add_image_size(parser: argparse.ArgumentParser, help: str, default: tuple[int, int] | None = None) -> None:
    """Add `--image-size H W`: of pictures; `--size` is that of activations."""
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("H", "W"), default=default, help=help)


def old_spelling(parser: argparse.ArgumentParser, old: str, new: str, nargs: int | None = None) -> None:
    """Let a word of earlier versions do what its new word does, unseen in the help, and say the new one."""
    action = next(each for each in parser._actions if new in each.option_strings)
    parser.add_argument(old, dest=action.dest, action=_Old, now=new, many=action.nargs == "+", nargs=nargs,
                        type=action.type or str, default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # fmt: skip


class _Old(argparse.Action):
    def __init__(self, *args: Any, now: str, many: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self.now, self.many = now, many

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        Console(stderr=True).print(f"{option} is now {self.now}")
        if self.many:  # it was given again for each
            values = [*(getattr(namespace, self.dest) or []), values]
        setattr(namespace, self.dest, values)


def in_new_words(arguments: Sequence[str]) -> list[str]:
    """A command line of an earlier version: `leaderboard --watch 60` is `--watch --every 60`."""
    words = list(arguments)
    if words[:1] == ["leaderboard"]:
        words = [part for word in words for part in (word.split("=", 1) if word.startswith("--watch=") else [word])]
        at = words.index("--watch") + 1 if "--watch" in words[:-1] else 0
        if at and words[at].lstrip("-").isdecimal():
            Console(stderr=True).print(f"--watch {words[at]} is now --watch --every {words[at]}")
            words.insert(at, "--every")
    return words
