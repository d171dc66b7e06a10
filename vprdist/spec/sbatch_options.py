"""sbatch's own options as a profile may give them: one a word, and none that a key of the profile stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence

HEARD = re.compile(r"[^\x00-\x1f\x7f'\"\\]*")
"""What a value may hold: sbatch reads quotes and backslashes of its `#SBATCH` lines in a way of its own."""
SHORT = {
    "A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint", "c": "cpus-per-task",
    "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold", "h": "help",
    "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution",
    "N": "nodes", "n": "ntasks", "O": "overcommit", "o": "output", "p": "partition", "Q": "quiet", "q": "qos",
    "S": "core-spec", "s": "oversubscribe", "t": "time", "V": "version", "v": "verbose", "W": "wait",
    "w": "nodelist", "x": "exclude",
}  # fmt: skip
"""The long word of each short one."""
FLAGS = frozenset(("H", "h", "k", "O", "Q", "s", "V", "v", "W"))
"""Short words without a value of their own."""
KEYS = {
    "account": "account", "clusters": "clusters", "constraint": "constraint", "cpus-per-gpu": "cpus_per_gpu",
    "cpus-per-task": "cpus_per_task", "comment": "comment_prefix", "dependency": "dependency", "exclude": "exclude",
    "exclusive": "exclusive", "gpus": "gpus_per_node", "gpus-per-node": "gpus_per_node",
    "gpus-per-task": "gpus_per_task", "gres": "gres", "hint": "hint", "job-name": "job_name_prefix",
    "licenses": "licenses", "mail-type": "mail_types", "mail-user": "mail_user", "mem": "memory_gb",
    "mem-per-cpu": "mem_per_cpu", "mem-per-gpu": "mem_per_gpu", "nice": "nice", "no-requeue": "requeue",
    "nodelist": "nodelist", "nodes": "nodes", "ntasks": "ranks", "ntasks-per-node": "ranks", "partition": "partition",
    "qos": "qos", "requeue": "requeue", "reservation": "reservation", "signal": "signal_lead_s",
    "time": "time_limit_min", "wckey": "wckey",
}  # fmt: skip
"""The profile's key for each option that has one."""
OURS = {
    **dict.fromkeys(("array", "chdir", "error", "input", "nodefile", "open-mode", "output"), "vprdist sets it itself"),
    **dict.fromkeys(("export", "export-file", "get-user-env"), "a job must have the environment that it was given"),
    **dict.fromkeys(
        ("help", "parsable", "quiet", "test-only", "usage", "verbose", "version", "wait", "wrap"),
        "it changes what sbatch does and says, which vprdist reads",
    ),
    **dict.fromkeys(("gid", "uid"), "jobs run as the person who starts them"),
    "ntasks-per-gpu": "`ranks` says how many tasks a node has",
}
"""Options that nothing but vprdist may give, and why."""


def option_of(word: str) -> tuple[str, str | bool]:
    """One option as sbatch knows it: its long name, and its value, or True where it has none.

    Raises:
        ValueError: it is no option in one word, or vprdist gives it itself.
    """
    if not HEARD.fullmatch(word):
        raise ValueError("an option of sbatch must be one line without quotes and backslashes")
    name, value = _split(word)
    taken = _taken(name)
    if taken in KEYS:
        raise ValueError(f"the option --{taken} must be left to vprdist: set the profile's `{KEYS[taken]}`")
    if taken in OURS:
        raise ValueError(f"the option --{taken} cannot be given: {OURS[taken]}")
    return name, value


def options_of(words: Sequence[str]) -> dict[str, str | bool]:
    """Options by their long names; the last one of a name holds, as on sbatch's command line."""
    return dict(map(option_of, words))


def check_setup(lines: Sequence[str]) -> None:
    """sbatch reads `#SBATCH` lines of a script's beginning, those of `setup` too: the same rules hold there.

    Raises:
        ValueError: as `option_of`.
    """
    for line in "\n".join(lines).splitlines():
        if line.startswith("#SBATCH"):
            for word in _joined(line.removeprefix("#SBATCH").split("#")[0].split()):
                option_of(word.replace('"', "").replace("'", ""))


def _split(word: str) -> tuple[str, str | bool]:
    if long := re.fullmatch(r"--([a-z][a-z0-9-]*)(?:=(.*))?", word):
        return long[1], True if long[2] is None else long[2]
    short = re.fullmatch(r"-([A-Za-z])(.*)", word)
    if short is None or short[1] not in SHORT or (short[1] in FLAGS and short[1] != "s" and short[2]):
        raise ValueError("an option of sbatch must be one word, --name or --name=value")
    return SHORT[short[1]], short[2].strip().removeprefix("=") or True


def _taken(name: str) -> str:
    """The option that sbatch would take the name for, which may be the beginning of a longer one; itself elsewhere."""
    known = {**KEYS, **OURS}
    return name if name in known else next((each for each in known if each.startswith(name)), name)


def _joined(words: Sequence[str]) -> list[str]:
    """Values that follow their option as words of their own, joined to it."""
    out: list[str] = []
    for word in words:
        if word.startswith("-") or not out:
            out.append(word)
        else:
            out[-1] += ("=" if out[-1].startswith("--") else "") + word
    return out
