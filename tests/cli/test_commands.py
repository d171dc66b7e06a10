"""The `vprdist` command: every sub-command helps with an example, works, and refuses with one message."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests import warm
from vprdist.cli import main

COMMANDS = [
    ["sweep"], ["leaderboard"], ["importance"], ["evaluate"], ["data", "demo"], ["data", "sheet"], ["data", "info"],
    ["export"], ["init"], ["keys"], ["cache", "import"], ["cache", "info"], ["cache", "verify"], ["cache", "export"],
]  # fmt: skip


def vprdist(*words: object) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", "vprdist", *map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example(words):
    done = vprdist(*words, "--help")
    assert done.returncode == 0
    assert "example" in done.stdout


def test_a_city_is_made_looked_at_and_its_cache_imported(tmp_path):
    city, cache = tmp_path / "city", tmp_path / "cache"
    done = vprdist("data", "demo", city, "--streets", 1, "--places", 4)
    assert done.returncode == 0, done.stderr
    assert "vprdist data sheet" in done.stdout
    assert vprdist("data", "sheet", city, tmp_path / "sheet.png").returncode == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    info = vprdist("data", "info", city, "--cities", "dogwood")
    assert "dogwood" in info.stdout
    done = vprdist("cache", "import", city / "semantics", "--data", city, "--out", cache, "--cities", "elm")
    assert done.returncode == 0, done.stderr
    info = vprdist("cache", "info", cache).stdout
    assert "elm" in info and "compression none" in info and "segmenter: imported" in info
    assert "building" in info and "%" in info
    done = vprdist("cache", "export", cache, "--npz", tmp_path / "npz")
    assert done.returncode == 0, done.stderr
    words = ("import", tmp_path / "npz", "--data", city, "--out", tmp_path / "again", "--compression", "zstd")
    assert vprdist("cache", *words).returncode == 0
    again = vprdist("cache", "info", tmp_path / "again").stdout
    assert "compression zstd" in again
    assert re.search(r"digest (\w+)", again)[1] == re.search(r"digest (\w+)", info)[1]
    assert "must begin in an empty folder" in vprdist("cache", "export", cache, "--png", city).stderr
    assert "as it was written" in vprdist("cache", "verify", cache).stdout
    shard = next(cache.rglob("*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    broken = vprdist("cache", "verify", cache)
    assert broken.returncode == 2
    assert shard.name in broken.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data", "info", "/nowhere"), "there is no such folder"),
        (("cache", "info", "/nowhere"), "/nowhere"),
        (("leaderboard", "nothing", "--runs", "/tmp/nowhere"), "nothing: no such sweep."),
        (("data", "demo", "/tmp/never", "--streets", "0"), "streets"),
    ],
)
def test_bad_input_is_one_message(words, message):
    done = vprdist(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--parts", "--plots"])
def test_watching_refuses_what_it_would_not_do(capsys, option):
    assert main(["leaderboard", "mine", "--watch", option]) == 2
    assert "--watch: parts, plots and LaTeX cannot be written again and again" in capsys.readouterr().err
