"""A network that is already trained, asked for in a way that cannot be: one message, exit code 2, nothing made."""

from __future__ import annotations

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
