"""Trackers are looked at before anything starts: what each needs is installed here, where the driver runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from vprdist.errors import LaunchError
from vprdist.spec.doors import TrackerName


def check_trackers(choices: Iterable[TrackerName], where: str) -> None:
    """Every built-in tracker's package is installed; the extra of each is called as its package.

    Args:
        where: the key, or option, that names them.

    Raises:
        LaunchError: one is not.
    """
    for choice in choices:
        if choice.extra and importlib.util.find_spec(choice.extra) is None:
            fault = f"the tracker {choice.name} needs the package {choice.extra}"
            raise LaunchError(where, fault, None, f"Install it: pip install 'vprdist[{choice.extra}]'.")
