"""The command line, called in the warm worker."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from vprdist.cli import main
from vprdist.errors import UserError


def command(*words: str, also: Sequence[int] = (0,)) -> str:
    """What a command of `vprdist` prints.

    Args:
        also: exit codes that are no refusal.

    Raises:
        UserError: it refused (exit code 2).
        AssertionError: another exit code.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    assert "Traceback" not in err.getvalue(), err.getvalue()
    if code == 2:
        raise UserError("vprdist", err.getvalue())
    assert code in also, f"exit code {code}: {err.getvalue()}"
    return out.getvalue()
