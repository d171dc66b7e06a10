"""`track` in a sweep file: who a sweep is sent to, and that no secret stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.errors import LaunchError, SweepFileError
from vprdist.prepare.trackers import check_trackers
from vprdist.spec.doors import TrackerName
from vprdist.spec.secret import hidden
from vprdist.spec.sweep_file import read_sweep
from vprdist.store.manifest import resolved_file

SECRET = "hunter2-hunter2"


def sweep_of(tmp_path: Path, text: str, *words: str):
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\n{text}\n")
    return read_sweep(path, words)


def test_trackers_are_read_and_written_again_and_change_no_trial(tmp_path):
    sweep = sweep_of(tmp_path, "track: [tensorboard, {name: mlflow, experiment: x}]")
    assert [choice.title for choice in sweep.track] == ["tensorboard", "mlflow"]
    assert resolved_file(sweep)["track"] == ["tensorboard", {"name": "mlflow", "experiment": "x"}]
    without = sweep_of(tmp_path, "")
    assert "track" not in resolved_file(without)
    assert [trial.hashed() for trial in sweep.trials] == [trial.hashed() for trial in without.trials]


@pytest.mark.parametrize(
    "text",
    [
        f"[{{name: wandb, api_key: {SECRET}}}]",
        f"[{{name: mlflow, password: {SECRET}}}]",
        f"[{{name: mlflow, experiment: 'https://me:{SECRET}@host/x'}}]",
        f"['https://me:{SECRET}@host']",
        f"{{token: {SECRET}}}",
        "[{name: wandb, project: 0123456789abcdef0123456789abcdef01234567}]",
    ],
)
@pytest.mark.parametrize("typed", [False, True])
def test_a_secret_is_refused_and_not_repeated(tmp_path, text, typed):
    with pytest.raises(SweepFileError, match="a secret may not stand in a sweep file") as caught:
        sweep_of(tmp_path, "" if typed else f"track: {text}", *([f"track={text}"] if typed else []))
    said = str(caught.value)
    assert "WANDB_API_KEY" in said and SECRET not in said and "0123456789abcdef" not in said
    assert typed or "mine.yaml:2" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track: wandb", r"track: this must be a list; found 'wandb'\. Write \[wandb\]"),
        ("track: [wandbx]", r"track\.0: no such tracker: 'wandbx'\. Did you mean 'wandb'\?"),
        ("track: [wandb, wandb]", "a tracker stands twice"),
        ("track: [{name: wandb, projekt: x}]", r"projekt: unknown key\. Did you mean 'project'"),
    ],
)
def test_a_mistake_is_one_message_at_its_line(tmp_path, text, message):
    with pytest.raises(SweepFileError, match=message):
        sweep_of(tmp_path, text)


def test_a_package_that_is_not_installed_is_said_with_its_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LaunchError, match=r"track: the tracker wandb needs .* pip install 'vprdist\[wandb\]'"):
        check_trackers([TrackerName.of("wandb")], "track")


def test_secrets_are_taken_out_of_what_is_shown():
    environment = {"MY_TOKEN": SECRET, "HOME": "/home/me", "SHORT_KEY": "1"}
    text = f"GET https://me:{SECRET}@host/x?write_token=abc failed: {SECRET} at /home/me 1"
    assert hidden(text, environment) == "GET https://***@host/x?write_token=*** failed: *** at /home/me 1"
