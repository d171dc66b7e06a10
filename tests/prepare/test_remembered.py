"""Answers about networks are kept as long as everything that they came from is as it was, and no longer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.plan.test_plan import SWEEP
from vprdist.cli import main
from vprdist.prepare import remembered as module
from vprdist.prepare.remembered import is_built_in, remember, remembered
from vprdist.spec.sweep_file import read_sweep


def cached() -> list[Path]:
    return sorted(Path(os.environ["VPRDIST_CACHE"]).rglob("*.json"))


def test_an_answer_is_that_of_its_question(tmp_path: Path) -> None:
    assert remembered("who", {"a": 1}) is None
    remember("who", {"a": 1}, {"said": [1, 2]})
    assert remembered("who", {"a": 1}) == {"said": [1, 2]}
    assert remembered("who", {"a": 2}) is None and remembered("another", {"a": 1}) is None
    assert cached()[0].stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("change", ["text", "library", "place", "python"])
def test_another_code_library_or_place_asks_again(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remember("who", 1, "answer")
    module._depends_on.cache_clear()
    assert remembered("who", 1) == "answer"
    if change == "text":
        monkeypatch.setattr(module, "running_digest", lambda: "another")
    elif change == "library":
        monkeypatch.setattr(module, "version", lambda name: "0.0")
    elif change == "place":
        monkeypatch.setenv("TORCH_HOME", "/elsewhere")
    else:
        monkeypatch.setattr(module.sys, "prefix", "/another/venv")
    module._depends_on.cache_clear()
    assert remembered("who", 1) is None
    module._depends_on.cache_clear()


def test_an_answer_from_a_file_goes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    remember("who", 1, "digest", [str(file)])
    assert remembered("who", 1) == "digest"
    before = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert remembered("who", 1) is None
    file.unlink()
    assert remembered("who", 1) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": "who", "question": 1}', '{"kind": 1, "files": 3}'])
def test_a_damaged_answer_is_none(text: str) -> None:
    remember("who", 1, "answer")
    cached()[0].write_text(text)
    assert remembered("who", 1) is None


def test_a_place_that_cannot_be_written_to_has_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VPRDIST_CACHE", str(tmp_path / "file"))
    remember("who", 1, "answer")
    assert remembered("who", 1) is None


def test_the_second_plan_starts_no_process_and_says_the_same(
    small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SWEEP.format(root=small_tree) + "seeds: [0]\n")
    words = ["plan", str(file), "trial.network.aggregator={name: netvlad, clusters: 8}", "--runs", str(tmp_path / "r")]

    def said() -> str:
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        changing = ("counting networks", "  free there")
        return "\n".join(line for line in lines if not line.startswith(changing))

    first = said()
    assert "11.25 M" in first or "parameters" in first
    started: list[Any] = []

    def refuse(command: Any, *rest: Any, **options: Any) -> Any:
        if "-m" in command:
            started.append(command)
        return real(command, *rest, **options)

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert said() == first and not started
    assert not (tmp_path / "r").exists()


def test_a_network_of_ones_own_is_asked_each_time(small_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Pool:\n    pass\n")
    file = tmp_path / "mine.yaml"
    file.write_text(SWEEP.format(root=small_tree))
    assert is_built_in(read_sweep(file).trials[0])
    own = f"trial.network.aggregator={tmp_path}/own.py:Pool"
    assert not is_built_in(read_sweep(file, [own]).trials[0])
