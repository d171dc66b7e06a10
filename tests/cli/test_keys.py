"""`vprdist keys` on terminals of every width, for programs and for editors."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from vprdist.cli import main
from vprdist.cli.keys import show_keys
from vprdist.console import Console
from vprdist.spec.find_key import find_keys
from vprdist.spec.keys import profile_keys, sweep_keys
from vprdist.spec.schema import profile_schema, sweep_schema

EVERY = (*sweep_keys(), *profile_keys())


def shown(width: int, keys, base: tuple[str, ...] = ()) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_keys(keys, base, console)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_every_key_stands_whole_in_its_table(width):
    lines = shown(width, EVERY)
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split("  ")}
    for key in EVERY:
        assert any(".".join(key.path[depth:]) in words for depth in range(len(key.path))), key.name


@pytest.mark.parametrize("width", [80, 120, 200])
def test_nothing_is_lost_on_a_narrow_terminal(width):
    text = " ".join(" ".join(shown(width, find_keys("trial.train"), ("trial", "train"))).split())
    for word in ("whole number", "16250", "demo: 50", "learning rate", "pixels", "search.grid and search.space"):
        assert word in text


def test_a_long_word_is_folded_and_not_cut():
    text = "".join("".join(line.split()) for line in shown(80, find_keys("trial.network"), ("trial", "network")))
    assert "aggregator.…" not in text


def test_one_key_is_shown_with_all_that_is_known_of_it(capsys):
    assert main(["keys", "input.classes"]) == 0
    text = capsys.readouterr().out
    for word in ("trial.input.classes", "[class, …]", "static", "traffic sign", "search.grid", "as input.classes"):
        assert word in text
    assert main(["keys", "run.keep_mb"]) == 0
    assert "MB" in (text := capsys.readouterr().out) and "nowhere" in text


def test_a_choice_is_shown_with_its_names_and_their_parameters(capsys):
    assert main(["keys", "trial.train.loss"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    words = (
        "gcl | contrastive | triplet |",
        "| path/file.py:Name",
        "margin number > 0 gcl: 0.5, triplet: 0.1",
        "<parameter>",
    )
    for word in words:
        assert word in text


def test_a_section_is_shown_alone_and_cluster_is_the_profile(capsys):
    assert main(["keys", "search.subsets"]) == 0
    assert "trial" not in (text := capsys.readouterr().out) and "finalists" in text
    assert main(["keys", "cluster"]) == 0
    assert "slurm/profiles" in (text := capsys.readouterr().out) and "signal_lead_s" in text and "seeds" not in text


def test_an_unknown_path_is_one_message(capsys):
    assert main(["keys", "trial.network.unfreze"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: trial.network.unfreze: no such key. Did you mean 'trial.network.unfreeze'?")
    assert error.count("\n") == 1
    assert main(["keys", "--schema", "trial"]) == 2
    assert "no such schema" in capsys.readouterr().err


def test_programs_read_every_key(capsys):
    assert main(["keys", "--json"]) == 0
    assert [key["key"] for key in json.loads(capsys.readouterr().out)] == [key.name for key in EVERY]


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (["--schema"], sweep_schema),
        (["--schema", "profile"], profile_schema),
        (["profile", "--schema"], profile_schema),
    ],
)
def test_the_schema_is_printed_for_editors(capsys, words, schema):
    assert main(["keys", *words]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


@pytest.mark.parametrize("words", [[], ["trial.network"], ["--schema"], ["--json"]], ids=str)
def test_no_torch_is_loaded(words):
    code = f"import sys; from vprdist.cli import main; main(['keys', *{words}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
