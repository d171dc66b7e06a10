"""What drivers left behind that were killed is removed where it is known that they are dead."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from vprdist.machine import machine_name
from vprdist.search import ray_folder, reaper


@pytest.mark.parametrize("fault", [None, "no locks", "link"])
def test_a_folder_that_cannot_be_locked_is_left_alone_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None
) -> None:
    folder = tmp_path / f"{ray_folder.PREFIX}12345678"
    folder.mkdir()
    (folder / "machine").write_text(machine_name())
    if fault == "link":
        (folder / reaper.LOCK).symlink_to(tmp_path / "elsewhere")
    elif fault:

        def refuse(descriptor: int, kind: int) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", refuse)
    ray_folder._clear(tmp_path)
    assert folder.exists() == bool(fault)
