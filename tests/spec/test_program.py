"""A program of the user's own as a trial: what identifies it, what is refused, and what it does not read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vprdist.errors import RuleError, SweepFileError
from vprdist.prepare.resolve import Resolver
from vprdist.spec.idle import idle_settings
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.program import check_params
from vprdist.spec.row_name import row_name
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep

COMMAND = {"command": ["python", "train.py", "--fast"]}


def read(folder: Path, job: object = COMMAND, **more: object) -> SweepSpec:
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "train.py"
    if not script.exists():
        script.write_text("import helper\n")
        (folder / "helper.py").write_text("x = 1\n")
    trial = {"job": job, "params": {"lr": 0.1, "net": {"width": 8}}, **more.pop("trial", {})}  # type: ignore[dict-item]
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"trial": trial, "objective": "loss", "direction": "minimize", **more}))
    return read_sweep(path)


def ids(sweep: SweepSpec) -> list[str]:
    return [Resolver().resolve(trial).trial_id for trial in sweep.trials]


def test_params_are_hashed_and_make_axes(tmp_path):
    grid = {"grid": {"params.lr": [0.1, 0.01], "params.net.width": [8, 16]}}
    sweep = read(tmp_path, search=grid)
    assert [trial.params for trial in sweep.trials] == [
        {"lr": lr, "net": {"width": width}} for lr in (0.1, 0.01) for width in (8, 16)
    ]
    assert len(set(ids(sweep))) == 4
    assert ids(sweep)[0] == ids(read(tmp_path))[0], "the same parameters are the same trial, axis or not"
    assert row_name(sweep.trials[1], sweep.axes) == "lr=0.1 width=16"
    assert sweep.search.direction == "minimize" and sweep.search.mode == "min"


def test_where_a_program_lies_is_no_part_of_it_and_its_text_is(tmp_path):
    here, there = read(tmp_path / "a"), read(tmp_path / "b")
    assert ids(here) == ids(there)
    (tmp_path / "b" / "helper.py").write_text("x = 2\n")
    assert ids(here) != ids(there), "what a script imports from beside it is its text too"
    other = read(tmp_path / "a", {"command": ["python", "train.py"]})
    assert ids(other) != ids(here)


def test_named_files_and_folders_are_its_text(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "deep.txt").write_text("1")
    sweep = read(tmp_path, {**COMMAND, "files": ["lib"]})
    before = ids(sweep)
    (tmp_path / "lib" / "deep.txt").write_text("2")
    assert ids(sweep) != before
    gone = read(tmp_path, {**COMMAND, "files": ["nowhere"]})
    with pytest.raises(SweepFileError, match="no such file or folder"):
        ids(gone)


def test_steps_signal_and_folder_say_how_it_runs(tmp_path):
    plain = ids(read(tmp_path))
    assert ids(read(tmp_path, {**COMMAND, "steps": 9, "stop_signal": "TERM", "folder": str(tmp_path)})) == plain


def test_what_it_does_not_read_changes_no_trial_and_is_said(tmp_path):
    plain, told = read(tmp_path), read(tmp_path, trial={"train": {"lr": 0.123}})
    assert ids(plain) == ids(told)
    (note,) = idle_settings(told, ClusterProfile(kind="local"))
    assert "trial.train.lr" in note and "reads trial.params" in note


def test_predictions_are_evaluated_and_so_the_protocol_is_part_of_it(tmp_path):
    own = {**COMMAND, "leaves": "predictions"}
    one = read(tmp_path, own, objective="recall@5", direction="maximize", trial={"evaluate": {"subtask": "d2n"}})
    assert one.trials[0].unread == ("input", "network", "train")
    assert one.trials[0].undigested.evaluate.subtask == "d2n"


@pytest.mark.parametrize("value", [float("inf"), {"": 1}, {"a": [1, float("nan")]}])
def test_parameters_are_plain_values(value):
    with pytest.raises(RuleError):
        check_params({"lr": value})


@pytest.mark.parametrize(
    ("job", "more", "said"),
    [
        ({"steps": 3}, {}, "either a command or a function"),
        ({**COMMAND, "function": "train.py:main"}, {}, "either a command or a function"),
        ({"command": ["python", "gone.py"]}, {}, "no such file"),
        ({"function": "train.py"}, {}, "path/file.py:name"),
        ({"command": []}, {}, "command"),
        (COMMAND, {"objective": "lo\nss"}, "name of a number"),
        ({**COMMAND, "leaves": "descriptors"}, {}, "the objective must be one of"),
        ({**COMMAND, "leaves": "descriptors"}, {"objective": "recall@1"}, "cannot be minimized"),
        (None, {}, "for a program of your own"),
        (COMMAND, {"search": {"subsets": {"take": "leave_one_out"}}}, "no mask whose classes"),
        (COMMAND, {"search": {"scheduler": "asha"}}, "trial.job.steps"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(tmp_path, job, more, said):
    with pytest.raises(SweepFileError) as error:
        read(tmp_path, job, **more)
    assert said in str(error.value) and "mine.yaml:" in str(error.value)
