"""What every suite shares: the real data where it is at hand, and a small MSLS tree made on the spot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.worlds import write_city


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures and activations; skips where it is absent."""
    named = os.environ.get("VPRDIST_SHARED")
    folder = (Path(named) if named else Path(__file__).resolve().parents[2] / "shared") / "data"
    if not (folder / "lip6").is_dir():
        pytest.skip(f"no real data at {folder}: set VPRDIST_SHARED to the folder that holds data/lip6")
    return folder


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    """An MSLS tree of two small cities, `ada` to train and `bob` to validate, with random pictures."""
    root = tmp_path / "tree"
    write_city(root, "ada", num_query=12, num_database=20, seed=1)
    write_city(root, "bob", num_query=8, num_database=16, seed=2)
    return root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes file systems of so many bytes: real ones (tmpfs), which takes a right that not everybody has."""
    made: list[Path] = []

    def make(size: int, *options: str) -> Path:
        place = tmp_path / f"disk-{len(made)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no `mount` here to make a small disk with")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
