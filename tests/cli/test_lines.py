"""What is found wrong after a sweep file was read is said with the line of the key that leads there."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from vprdist.cli import main
from vprdist.errors import DataError, SweepFileError, UserError, leading_there
from vprdist.spec.sweep import with_lines
from vprdist.spec.sweep_file import read_sweep

FILE = """name: lines
trial:
  data:
    root: TREE
    train:
      - ada
    validate: [bob]
  input:
    mode: masked
    cache: FOLDER/cache
  network: {weights: none, unfreeze: 0-2}
  train: {steps: 1, batch_pairs: 4, micro_pairs: 4, image_size: [32, 32]}
cluster: local
search:
  grid:
    train.lr: [0.1, 0.2]
"""


def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, *words: str) -> str:
    file = tmp_path / "lines.yaml"
    file.write_text(text.replace("TREE", str(tmp_path / "tree")).replace("FOLDER", str(tmp_path)))
    assert main(["plan", str(file), "--runs", str(tmp_path / "runs"), *words]) == 2
    return capsys.readouterr().err.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("TREE", "/nowhere"), "lines.yaml:4: trial.data.root: /nowhere: an MSLS tree must have train_val/"),
        (("- ada", "- adda"), "lines.yaml:6: trial.data.train.0: tree: the tree has no such city: 'adda'"),
        (("[bob]", "[bobb]"), "lines.yaml:7: trial.data.validate.0: tree: the tree has no such city: 'bobb'"),
        (("TREE", "demo"), "lines.yaml:6: trial.data.train.0: the built-in data have no such city: 'ada'"),
        (("FOLDER/cache", "FOLDER/cash"), "lines.yaml:10: trial.input.cache: cash: a cache must be a folder with"),
        (("    cache: FOLDER/cache\n", ""), "lines.yaml:8: trial.input.cache: mode masked needs a cache"),
        (("cluster: local", "cluster: nosuch"), "lines.yaml:13: cluster: no such file of slurm/profiles: 'nosuch'"),
        (("masked", "rgb+mask"), "lines.yaml:11: trial.network.unfreeze: conv1_init inflate starts the new channels"),
    ],
)  # fmt: skip
def test_what_is_wrong_outside_the_file_is_said_with_its_line(tmp_path, small_tree, capsys, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    assert words in refusal(tmp_path, capsys, FILE.replace(*change))


def test_of_an_override_and_of_an_axis_the_word_and_the_axis_are_named(tmp_path, small_tree, capsys):
    message = refusal(tmp_path, capsys, FILE, "trial.data.train=[adda]")
    assert "error: override 'trial.data.train=[adda]': trial.data.train.0: tree: the tree has no such city" in message
    axis = FILE + "    data.root: [TREE, /nowhere]\n"
    assert "lines.yaml:17: search.grid.data.root: /nowhere: an MSLS tree" in refusal(tmp_path, capsys, axis)


def test_a_profile_names_its_own_line(tmp_path, small_tree, capsys):
    (tmp_path / "site.yaml").write_text("kind: local\nranks: 1\nnodes: 2\n")
    text = FILE.replace("cluster: local", "cluster: FOLDER/site.yaml").replace("mode: masked", "mode: rgb")
    assert "error: site.yaml:3: nodes: a local profile must have one node; found 2." in refusal(tmp_path, capsys, text)


def test_only_a_key_at_the_head_of_a_message_gets_a_line(tmp_path):
    (tmp_path / "a.yaml").write_text("trial:\n  data: {root: demo}\n")
    sweep = read_sweep(tmp_path / "a.yaml")

    def said(error: UserError, key: str | None = None) -> str:
        with pytest.raises(type(error)) as caught, with_lines(sweep), leading_there(key) if key else nullcontext():
            raise error
        return str(caught.value).replace(f"{tmp_path}/", "")

    assert said(DataError("/a: b", "no such city", "x")) == "/a: b: no such city: 'x'."
    assert said(DataError("/a", "no such city", "x"), "trial.data.root") == (
        "a.yaml:2: trial.data.root: /a: no such city: 'x'."
    )
    assert said(SweepFileError("budget.trials", "too many must not be", 3, "Less.")) == (
        "a.yaml: budget.trials: too many must not be; found 3. Less."
    )
    error = SweepFileError("trial.data.train", "no city")
    assert said(error, "trial.data.root") == "a.yaml:2: trial.data.train: no city."
