"""CONTRIBUTING.md's worked examples, exactly as printed: small, typed, planned, run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests import warm
from tests.end_to_end.test_sweep import CITY, REPO, made_city, rows
from vprdist.cli import main

assert made_city, "the fixture"
BLOCK = re.compile(r"<!-- (file|sweep): (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
BLOCKS = [(kind, name, text) for kind, name, text in BLOCK.findall((REPO / "CONTRIBUTING.md").read_text())]
FILES = {name: text for kind, name, text in BLOCKS if kind == "file"}
SWEEPS = {name: text for kind, name, text in BLOCKS if kind == "sweep"}
WALK = 12


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A user's folder: the files, the sweeps, and a walk."""
    for name, text in (FILES | SWEEPS).items():
        (tmp_path / name).write_text(text)
    for city in ("north", "south"):
        for side, tone in (("query", 60), ("database", 90)):
            folder = tmp_path / "walk" / city / side
            folder.mkdir(parents=True)
            for number in range(WALK):
                picture = Image.new("RGB", (80, 60), (tone, 20 * number, 255 - 20 * number))
                picture.paste((20 * number, 40, tone), (5 * number, 0, 5 * number + 20, 60))
                picture.save(folder / f"{number:04}.jpg")
    return tmp_path


def test_there_is_an_example_for_each_door_of_at_most_forty_lines() -> None:
    assert set(FILES) == {
        "my_loss.py", "my_pool.py", "my_net.py", "my_segmenter.py", "my_layout.py", "my_search.py"
    }  # fmt: skip
    assert {Path(name).stem for name in FILES} == {Path(name).stem for name in SWEEPS}
    for name, text in FILES.items():
        assert sum(bool(line.strip()) for line in text.splitlines()) <= 40, name


def test_the_examples_are_typed_and_tidy(examples: Path) -> None:
    """They inherit from vprdist's own classes: mypy sees those as a user's mypy would."""
    files = [str(examples / name) for name in FILES]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(REPO / "pyproject.toml"), *files],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    tidy = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", str(REPO / "pyproject.toml"), *files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tidy.returncode == 0, tidy.stdout


@pytest.mark.slow
@pytest.mark.parametrize("sweep", sorted(SWEEPS))
def test_an_example_is_planned_and_run_as_printed(
    examples: Path, made_city: Path, sweep: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(examples)
    runs = examples / "runs"
    (runs / "data").mkdir(parents=True)
    (city,) = (made_city / "data").iterdir()
    (runs / "data" / city.name).symlink_to(city)
    small = [] if "root: walk" in SWEEPS[sweep] else [CITY]  # the city alone is smaller than the one of the file
    assert main(["plan", sweep, *small, "--runs", str(runs)]) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "Nothing was written or submitted" in said
    assert not (runs / "trials").exists()

    done = warm.run(
        [sys.executable, "-m", "vprdist.sweep", sweep, *small, "--runs", str(runs)],
        capture_output=True, text=True, timeout=570, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    found = rows(runs, Path(sweep).stem)
    assert found and all(0 <= float(row["recall@1"]) <= 1 for row in found)
