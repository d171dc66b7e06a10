"""What others see of a sweep while its city or cache is made, and that nothing of it stays."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from vprdist.store import driving
from vprdist.store.driving import is_driven, preparing, read_preparing


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return tmp_path / "sweeps" / "mine"


def test_nothing_is_written_before_something_is_made(sweep: Path) -> None:
    with preparing(sweep, "recall@1"):
        assert not sweep.exists()
    assert not sweep.exists()


def test_it_is_seen_while_it_is_made_and_forgotten_afterwards(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "NOTE_S", 0.0)
    with preparing(sweep, "map@5") as tell:
        tell("importing", 0, 0)
        seen = read_preparing(sweep)
        assert seen is not None and (seen.what, seen.total, seen.objective) == ("importing", 0, "map@5")
        assert is_driven(sweep)
        for done in (40, 50):
            tell("importing", done, 100)
        seen = read_preparing(sweep)
        assert seen is not None and (seen.first, seen.done, seen.total) == (40, 50, 100), "40 were made earlier"
        tell("segmenting", 1, 9)
        seen = read_preparing(sweep)
        assert seen is not None and (seen.what, seen.first) == ("segmenting", 1)
    assert not sweep.exists()


@pytest.mark.parametrize("fails", [True, False])
def test_a_sweep_that_came_to_its_trials_keeps_its_folder(sweep: Path, fails: bool) -> None:
    with contextlib.suppress(KeyError), preparing(sweep, "recall@1") as tell:
        tell("importing", 1, 2)
        (sweep / "manifest.json").write_text("{}")
        if fails:
            raise KeyError
    assert sorted(path.name for path in sweep.iterdir()) == ["lock", "manifest.json"]


def test_what_was_refused_leaves_no_folder(sweep: Path) -> None:
    with contextlib.suppress(KeyError), preparing(sweep, "recall@1") as tell:
        tell("looking at pictures", 1, 2)
        raise KeyError
    assert not sweep.exists()


def test_a_folder_that_another_driver_has_stays(sweep: Path) -> None:
    with driving.driving(sweep):
        with preparing(sweep, "recall@1") as tell:
            tell("importing", 1, 2)
        assert is_driven(sweep)
    assert not is_driven(sweep)


def test_notes_are_few_and_the_last_one_is_there(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrote = []
    monkeypatch.setattr(driving, "NOTE_S", 1e9)
    monkeypatch.setattr(driving, "write_text", lambda path, text: wrote.append(text))
    with preparing(sweep, "recall@1") as tell:
        for done in range(1, 1001):
            tell("importing", done, 1000)
    assert len(wrote) == 2 and '"done": 1000' in wrote[-1]


def test_what_cannot_be_read_is_nothing(sweep: Path) -> None:
    sweep.mkdir(parents=True)
    for text in ("", "[]", '{"what": 3}'):
        (sweep / "preparing.json").write_text(text)
        assert read_preparing(sweep) is None
