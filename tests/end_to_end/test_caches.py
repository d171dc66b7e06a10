"""Caches that are made by segmenting pictures, as a user makes them: by command, and by a sweep that needs one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import warm
from tests.end_to_end.test_sweep import starts
from tests.worlds import write_activations
from vprdist.files import read_json
from vprdist.semantics.cache import open_cache, verify
from vprdist.semantics.cache.format import MANIFEST
from vprdist.semantics.importing import import_cache

IMAGES = 24  # so many has small_tree's bob


def vprdist(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vprdist", *map(str, words)]
    return warm.run(command, capture_output=True, text=True, check=False, timeout=300)


def build_words(root: Path, out: Path, weights: Path, *more: object) -> list[str]:
    words = ["cache", "build", "--data", root, "--out", out, "--segmenter", "deeplabv3plus", "--weights", weights]
    return [*map(str, words), "--image-size", "32", "48", "--shard-images", "5", "--cities", "bob", *map(str, more)]


def files_of(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in cache.rglob("*.*") if p.is_file() and p.name != ".lock"}


@pytest.mark.slow
def test_killed_builds_go_on_to_the_same_bytes(small_tree: Path, deeplab_weights: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = vprdist(*build_words(small_tree, whole, deeplab_weights))
    assert done.returncode == 0, done.stderr + done.stdout
    assert f"{IMAGES} of {IMAGES} pictures are to be segmented by deeplabv3plus resnet101 os16" in done.stdout
    assert f"segmenting pictures: {IMAGES}/{IMAGES}" in done.stdout
    assert "vprdist cache sheet" in done.stdout
    cache = verify(whole)
    assert cache.size == (8, 12)
    stack = cache.activations("bob", "query", cache.keys("bob", "query")[0]).astype(int)
    assert np.abs(stack.sum(axis=0) - 255).max() <= 10, "probabilities"

    # Its worker lives in another process: all of the group is killed, as by a power cut.
    command = [sys.executable, "-m", "vprdist", *build_words(small_tree, cut, deeplab_weights)]
    process = warm.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("segmenting pictures"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cut / MANIFEST).exists()
    done = vprdist(*build_words(small_tree, cut, deeplab_weights))
    assert done.returncode == 0, done.stderr
    assert files_of(cut) == files_of(whole)
    again = vprdist(*build_words(small_tree, cut, deeplab_weights))
    assert "to be segmented" not in again.stdout
    assert again.returncode == 0


@pytest.mark.drill  # two importers at once are a test of tests/semantics
def test_two_builds_at_once_share_the_work_and_both_end_well(
    small_tree: Path, deeplab_weights: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "vprdist", *build_words(small_tree, tmp_path / "cache", deeplab_weights)]
    both = [warm.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    verify(tmp_path / "cache")


def test_a_sweep_replaces_no_cache_of_somebody_elses(small_tree: Path, deeplab_weights: Path, tmp_path: Path) -> None:
    write_activations(small_tree, ("ada", "bob"), tmp_path / "npz")
    cache = import_cache(tmp_path / "npz", small_tree, tmp_path / "cache")
    file = tmp_path / "mine.yaml"
    file.write_text(SWEEP.format(root=small_tree, weights=deeplab_weights))
    done = vprdist("sweep", file, "--runs", tmp_path / "runs", f"trial.input.cache={cache.path}")
    assert done.returncode == 2
    rule = "the cache there must be of this segmenter, size and compression"
    assert rule in done.stderr
    assert "16 x 20, 'imported', none" in done.stderr
    assert open_cache(cache.path).digest == cache.digest
    grid = "search.grid={input.segmenter.output_stride: [8, 16]}"
    done = vprdist("sweep", file, "--runs", tmp_path / "runs", f"trial.input.cache={tmp_path / 'new'}", grid)
    assert done.returncode == 2
    assert "a cache must hold the activations of one segmenter" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "/nowhere.pth"], "/nowhere.pth: no such file; the weights of deeplabv3plus must be one."),
        (["--window", "128", "96"], "segmenter.window: the window must fit into the picture"),
        (["--cities", "paris"], "paris"),
        (["--cluster", "moon"], "cluster: no such file of slurm/profiles: 'moon'"),
        (["--precision", "float12"], "invalid choice"),
    ],
)
def test_bad_orders_are_one_message(
    small_tree: Path, deeplab_weights: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    done = vprdist(*build_words(small_tree, tmp_path / "cache", deeplab_weights), *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "cache").exists()


def test_a_cut_picture_is_one_message_and_what_was_made_is_kept(
    small_tree: Path, deeplab_weights: Path, tmp_path: Path
) -> None:
    picture = small_tree / "train_val" / "bob" / "query" / "images" / "bob_q005.jpg"
    good = picture.read_bytes()
    picture.write_bytes(good[:300] + bytes(len(good) - 300))  # as long as it was: sizes are what the plan goes by
    done = vprdist(*build_words(small_tree, tmp_path / "cache", deeplab_weights))
    assert done.returncode == 2
    assert "bob_q005.jpg: the picture cannot be read" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    picture.write_bytes(good)
    assert vprdist(*build_words(small_tree, tmp_path / "cache", deeplab_weights)).returncode == 0


SWEEP = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  input:
    mode: masked
    segmenter: {{name: deeplabv3plus, weights: {weights}, image_size: [32, 48]}}
  network: {{backbone: resnet18, weights: none}}
  train: {{image_size: [32, 40], steps: 1, batch_pairs: 4, micro_pairs: 4}}
search: {{grid: {{input.placebo: [none, random]}}}}
"""


@pytest.mark.slow
def test_a_sweep_makes_the_cache_that_its_trials_need_once(
    small_tree: Path, deeplab_weights: Path, tmp_path: Path
) -> None:
    file, runs = tmp_path / "mine.yaml", tmp_path / "runs"
    file.write_text(SWEEP.format(root=small_tree, weights=deeplab_weights))
    planned = vprdist("plan", file, "--runs", runs)
    assert planned.returncode == 0, planned.stderr
    assert "56 of 56 pictures would be segmented first" in planned.stdout
    assert not runs.exists(), "a plan writes nothing"
    done = vprdist("sweep", file, "--runs", runs)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("are to be segmented by") == 1
    (folder,) = runs.glob("data/cache-*")
    cache = open_cache(folder)
    assert set(starts(runs).values()) == {1} and len(starts(runs)) == 2
    for trial in runs.glob("trials/*/trial.json"):
        spec = read_json(trial)
        assert spec["digests"]["cache"] == cache.digest
        assert spec["input"]["cache"] == str(folder)
    again = vprdist("sweep", file, "--runs", runs, "name=again")
    assert again.returncode == 0
    assert "to be segmented" not in again.stdout
    assert set(starts(runs).values()) == {1}, "the same trials, whatever made the cache"
    assert "2 done" in vprdist("plan", file, "--runs", runs).stdout
