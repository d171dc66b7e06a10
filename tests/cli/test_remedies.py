"""What a new user writes wrong: each message names what can be done, where it can be done, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.cli import main

ONE = "searcher: one_network, subsets: {classes: [building, pole]}"


def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, *words: str) -> str:
    """What `plan` says of a file; nothing was made."""
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["plan", str(tmp_path / "mine.yaml"), *words, "--runs", str(tmp_path / "runs")]) == 2
    assert not (tmp_path / "runs").exists()
    return " ".join(capsys.readouterr().err.split())


def file(search: str, trial: str = "input: {mode: masked}, train: {steps: 0}") -> str:
    return f"trial: {{{trial}}}\nsearch: {{{search}}}\n"


def test_a_remedy_names_the_axis_that_varies_the_key(tmp_path, capsys):
    pooled = f"{ONE}, probes: {{how: pooled}}"
    said = refusal(tmp_path, capsys, file(f"{pooled}, grid: {{input.mask_at: [picture]}}"))
    assert "Set search.grid.input.mask_at: [features], or search.probes.how: each." in said
    said = refusal(tmp_path, capsys, file(pooled))
    assert "Set trial.input.mask_at: features, or" in said, "it is no axis"
    said = refusal(tmp_path, capsys, file(f"{pooled}, grid: {{input: [{{mask_at: picture}}]}}"))
    assert "Set mask_at: features in the entries of search.grid.input, or" in said


def test_of_descriptors_at_the_features_the_axis_of_the_form_is_named(tmp_path, capsys):
    (tmp_path / "net.pt").touch()
    grid = "grid: {input.mask_at: [picture, features], network: [{backbone: 'torchscript:net.pt'}]}"
    said = refusal(tmp_path, capsys, file(f"{ONE}, {grid}"))
    assert "mine.yaml:2: search.grid.input.mask_at.1: " in said
    assert "Set search.grid.input.mask_at: [picture]." in said


@pytest.mark.parametrize(
    ("search", "word", "hint"),
    [
        ("grid: {mask_at: [picture]}", "", "Did you mean 'input.mask_at'?"),
        ("grid: {backbone.name: [resnet18]}", "", "Did you mean 'network.backbone.name'?"),
        ("grid: {inptu.mask_at: [picture]}", "", "Did you mean 'input.mask_at'?"),
        (ONE, "search.probes=pooled", "Write search.probes.how: pooled."),
        (f"{ONE}, grid: {{network: [{{backbone: timm}}]}}", "", "Write timm:resnet18, or {name: timm, model: …}."),
        (
            f"{ONE}, grid: {{network: [{{backbone: {{name: torchscript, path: net.pt}}}}]}}", "",
            "network.0.backbone.path: unknown key. Did you mean 'file'? Short: torchscript:net.pt.",
        ),
    ],
)  # fmt: skip
def test_hints_are_what_was_meant(tmp_path, capsys, search, word, hint):
    assert hint in refusal(tmp_path, capsys, file(search), *filter(None, [word]))


def test_a_file_of_class_names_that_is_not_there_is_called_missing(tmp_path, capsys):
    trial = "input: {mode: masked, class_table: nothere.txt}"
    said = refusal(tmp_path, capsys, file(ONE, trial))
    assert "input.class_table: no such file of class names: 'nothere.txt'." in said
    assert f"A path counts from the working folder, {Path.cwd()}." in said
    said = refusal(tmp_path, capsys, file(ONE, "input: {mode: masked, class_table: ade20}"))
    assert "Did you mean 'ade20k'?" in said


def test_the_built_in_city_has_the_classes_of_cityscapes_alone(tmp_path, capsys):
    search = "searcher: one_network, subsets: {classes: [building, sky]}"
    said = refusal(tmp_path, capsys, file(search, "input: {mode: masked, class_table: ade20k}"))
    assert "mine.yaml:1: trial.input.class_table: the class table must be cityscapes" in said
    assert "found 'the 150 classes of ade20k'" in said


def test_of_several_networks_the_one_that_is_wrong_is_named(tmp_path, capsys):
    (tmp_path / "empty.pt").touch()
    grid = "grid: {network: [{backbone: resnet18, weights: none}, {backbone: 'torchscript:empty.pt'}]}"
    said = refusal(tmp_path, capsys, file(f"{ONE}, {grid}"))
    assert "mine.yaml:2: search.grid.network.1.backbone: " in said and "empty.pt" in said
