"""`vprdist init` writes sweeps and profiles to start from, and never over what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vprdist.cli import main
from vprdist.shipped import shipped_files, shipped_root
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep_file import read_sweep


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_everything_is_written_as_it_is_shipped_and_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "new folder/vpr"]) == 0
    said, folder = capsys.readouterr().out, here / "new folder" / "vpr"
    for file in shipped_files():
        assert (folder / file).read_bytes() == (shipped_root() / file).read_bytes()
        assert os.access(folder / file, os.X_OK) == os.access(shipped_root() / file, os.X_OK)
        assert file.name in said
    assert {file for file in folder.rglob("*") if file.is_file()} == {folder / file for file in shipped_files()}
    assert "left as" not in said and "cd 'new folder/vpr'\n  vprdist plan sweeps/table1.yaml " in said
    for document in ("sweeps/README.md", "slurm/README.md"):
        assert str(shipped_root() / document) in said and (shipped_root() / document).is_file()


def test_what_it_says_to_do_next_can_be_done(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    said = capsys.readouterr().out
    assert "  cd " not in said
    assert main(["plan", "sweeps/your_program.yaml"]) == 0
    assert "is not in this folder" not in capsys.readouterr().out, "its own are taken"
    assert "slurm/profiles/example-gpu.yaml" in said and (here / "slurm/profiles/example-gpu.yaml").is_file()
    assert read_profile("example-gpu").kind == "slurm"
    assert read_sweep(Path("sweeps/table1.yaml")).name == "table1"


def test_nothing_is_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "sweeps").mkdir()
    (here / "sweeps" / "table1.yaml").write_text("name: mine\n")
    (here / "sweeps" / "forms.yaml").symlink_to(here / "nowhere")
    assert main(["init", "."]) == 0
    assert "left as they were: sweeps/forms.yaml, sweeps/table1.yaml\n" in capsys.readouterr().out
    assert (here / "sweeps" / "table1.yaml").read_text() == "name: mine\n"
    assert not (here / "nowhere").exists()
    assert main(["init"]) == 0
    assert "made" not in capsys.readouterr().out


@pytest.mark.parametrize("place", ["", "sweeps", "slurm", "slurm/profiles"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (here / "new" / place).parent.mkdir(parents=True, exist_ok=True)
    (here / "new" / place).write_text("")
    assert main(["init", "new"]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {Path('new') / place}: this must be a folder. Move it away, or name another folder.\n"
    assert [path for path in here.rglob("*") if path.is_file()] == [here / "new" / place]


def test_a_package_without_them_says_so(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vprdist.shipped.shipped_root", lambda: here / "site-packages")
    assert main(["init", "new"]) == 2
    assert "the examples are missing from this installation. Install vprdist again.\n" in capsys.readouterr().err
    assert not (here / "new").exists()
