"""The commands by their words: what each does in one line, and the module that knows the rest.

`vprdist --help` needs no more than this table; a command's own module is loaded when the command is called.
"""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """One command: its module in `vprdist.cli`, and what it does."""

    module: str
    about: str


WORDS = {
    "sweep": Word("sweep", "run a sweep file and show its leaderboard (vprdist sweep --help)"),
    "init": Word("init", "write sweeps and profiles to start from"),
    "leaderboard": Word("leaderboard", "show and write a sweep's leaderboard again"),
    "importance": Word(
        "importance", "tell which axes matter (mode, layers, recipe, …) over trials that are there, with intervals"
    ),
    "evaluate": Word("evaluate", "evaluate a trial under another protocol, or files of predictions or descriptors"),
    "plan": Word("plan", "say what a sweep would submit, and what it would cost"),
    "keys": Word("keys", "say which keys a sweep file and a profile may have, and what they mean"),
    "status": Word("status", "show how a sweep is getting on"),
    "logs": Word("status", "show what a trial's job printed"),
    "cancel": Word("control", "end trials of a sweep, and its jobs"),
    "retry": Word("control", "run a sweep's failed trials again"),
    "prune": Word("control", "remove what no leaderboard needs"),
    "export": Word("export", "write a trial's network as a checkpoint of the public GCL code"),
    "track": Word("track", "send what a sweep has, and its trackers have not"),
    "data": Word("data", "the demo city, and a look at a data set"),
    "cache": Word("cache", "caches of semantic activations"),
}
"""In the order of the help."""


def about(name: str) -> str:
    """What a command does, in one line."""
    return WORDS[name].about
