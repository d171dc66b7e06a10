"""Named choices: a word or a class with parameters, laid over each other by files, axes and command lines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from vprdist.errors import SweepFileError
from vprdist.spec.base import Names, hashed_unless
from vprdist.spec.doors import AggregatorName, LossName
from vprdist.spec.named import BuiltIn, parameters
from vprdist.spec.sweep import trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import CHOICES, TrialSpec
from vprdist.store.manifest import resolved_file

OWN = """
class Pool:
    def __init__(self, channels, width: int = 8, scale: float = 1.0):
        pass

class Net:
    units = ("stem", "body", "head")

class Nameless:
    def __init__(self): pass

class Shares:
    draws = (0.5, 0.6, 0.1)

class Labels:
    labels = "depth"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "own.py").write_text(OWN)
    return tmp_path / "here"


def read(folder: Path, text: str, *words: str) -> Any:
    path = folder / "mine.yaml"
    path.write_text(text)
    return read_sweep(path, words)


def losses(sweep: Any) -> list[Any]:
    return [trial.train.loss.as_written() for trial in sweep.trials]


GCL, CONTRASTIVE = ({"name": name, "margin": 0.5} for name in ("gcl", "contrastive"))


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("seeds: [0]", (), [GCL]),
        ("trial: {train: {loss: contrastive}}", (), [CONTRASTIVE]),
        ("trial: {train: {loss: {name: contrastive, margin: 0.7}}}", (), [{**CONTRASTIVE, "margin": 0.7}]),
        ("trial: {train: {loss: {margin: 0.7}}}", (), [{**GCL, "margin": 0.7}]),
        ("trial: {train: {margin: 0.7}}", (), [{**GCL, "margin": 0.7}]),
        ("trial: {train: {loss: contrastive}}", ("trial.train.loss.margin=0.7",), [{**CONTRASTIVE, "margin": 0.7}]),
        ("trial: {train: {loss: contrastive}}", ("trial.train.margin=0.7",), [{**CONTRASTIVE, "margin": 0.7}]),
        ("trial: {train: {loss: {margin: 0.7}}}", ("trial.train.loss=contrastive",), [{**CONTRASTIVE, "margin": 0.7}]),
        ("trial: {train: {loss: {margin: 0.7}}}", ("trial.train.loss={name: contrastive}",), [CONTRASTIVE]),
        ("search: {grid: {train.loss: [gcl, contrastive]}}", (), [GCL, CONTRASTIVE]),
        (
            "{trial: {train: {margin: 0.7}}, search: {grid: {train.loss: [gcl, {name: contrastive, margin: 0.2}]}}}",
            (),
            [{**GCL, "margin": 0.7}, {**CONTRASTIVE, "margin": 0.2}],
        ),
        (
            "search: {grid: {train.loss.margin: [0.1, 0.2]}}",
            ("trial.train.loss=contrastive",),
            [{**CONTRASTIVE, "margin": 0.1}, {**CONTRASTIVE, "margin": 0.2}],
        ),
        ("search: {grid: {train.margin: [0.1, 0.2]}}", (), [{**GCL, "margin": 0.1}, {**GCL, "margin": 0.2}]),
    ],
)
def test_layers_of_a_choice(folder: Path, text: str, words: tuple[str, ...], expected: list[Any]) -> None:
    sweep = read(folder, text, *words)
    assert losses(sweep) == expected
    again = read(folder, yaml.safe_dump(resolved_file(sweep)))
    assert losses(again) == expected, "the written-out file says the same"
    assert [trial_at(sweep, point).train.loss.as_written() for point in sweep.points] == expected


def test_a_path_counts_from_the_file_and_on_the_command_line_from_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    text = "trial: {network: {aggregator: {name: own.py:Pool, width: 3}}}"
    found = read(folder, text).trials[0].network.aggregator
    assert found.name == f"{folder}/own.py:Pool" and found.parameters == {"width": 3, "scale": 1.0}
    other = read(folder, text, "trial.network.aggregator=here/own.py:Pool").trials[0].network.aggregator
    assert other.name == found.name and other.parameters["width"] == 8
    wider = read(folder, text, "trial.network.aggregator.width=5").trials[0].network.aggregator
    assert wider.name == found.name and wider.parameters["width"] == 5, "the name is still the file's"
    grid = "search: {grid: {network.aggregator: [gem, own.py:Pool, {name: own.py:Pool, width: 4}]}}"
    names = [trial.network.aggregator.title for trial in read(folder, grid).trials]
    assert names == ["gem", "Pool", "Pool"]
    ids = {json.dumps(trial.network.aggregator.hashed()) for trial in read(folder, grid).trials}
    assert len(ids) == 3


def test_a_backbone_of_ones_own_is_counted_by_its_units(folder: Path) -> None:
    text = "trial: {network: {backbone: own.py:Net, unfreeze: 1-1, weights: none}}"
    assert read(folder, text).trials[0].network.trained == ("stem", "head")
    with pytest.raises(SweepFileError, match="Net has no more than 3"):
        read(folder, text, "trial.network.unfreeze=2-2")


@pytest.mark.parametrize(
    ("value", "where", "words"),
    [
        ("{aggregator: gemm}", ":1: trial.network.aggregator", "no such aggregator: 'gemm'"),
        ("{aggregator: {name: gem, q: 2}}", ":1: trial.network.aggregator.q", "unknown key"),
        ("{aggregator: {name: gem, p: much}}", ":1: trial.network.aggregator.p", "this must be a number"),
        ("{aggregator: {name: gem, p: 0}}", ":1: trial.network.aggregator.p", "this must be above 0"),
        ("{backbone: {name: null, width: 3}}", ":1: trial.network.backbone.name", "need its name"),
        ("{aggregator: {name: 3}}", ":1: trial.network.aggregator.name", "must be a word"),
        ("{aggregator: [gem]}", ":1: trial.network.aggregator", "must be a word"),
        ("{aggregator: {name: own.py:Pool, widht: 2}}", ":1: trial.network.aggregator.widht", "no parameter 'widht'"),
        ("{aggregator: {name: own.py:Pool, width: x}}", ":1: trial.network.aggregator.width", "needs width: int"),
        ("{aggregator: {name: own.py:Pool, channels: 2}}", "trial.network.aggregator.channels", "given channels"),
        ("{aggregator: own.py:Pul}", ":1: trial.network.aggregator", "has no class Pul"),
        ("{aggregator: absent.py:Pool}", ":1: trial.network.aggregator", "no such file"),
        ("{backbone: own.py:Nameless, weights: none}", ":1: trial.network.backbone", "must name its units"),
        ("{attention: {name: none, at: [layer4]}}", "trial.network.attention.at", "unknown key"),
        ("{attention: {name: own.py:Pool, at: [layer9]}}", "trial.network.attention.at", "has no such unit"),
    ],
)
def test_a_choice_that_cannot_be_is_one_message_with_its_line(folder: Path, value: str, where: str, words: str) -> None:
    with pytest.raises(SweepFileError) as caught:
        read(folder, f"trial: {{network: {value}}}")
    assert where in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "words"), [("Shares", "by shares that sum to 1"), ("Labels", "labels fov or sim")])
def test_what_a_loss_states_is_checked(folder: Path, name: str, words: str) -> None:
    with pytest.raises(SweepFileError, match=words):
        read(folder, f"trial: {{train: {{loss: own.py:{name}}}}}")


def test_a_loss_of_the_whole_batch_needs_it_in_one_piece(folder: Path) -> None:
    (folder / "own.py").write_text("class Batch:\n    pass\n")
    assert read(folder, "trial: {train: {loss: own.py:Batch}}").trials[0].train.counts_all_pairs
    with pytest.raises(SweepFileError, match="the loss Batch needs a batch in one piece"):
        read(folder, "trial: {train: {loss: own.py:Batch, recipe: reference}}")


def test_a_trial_is_written_and_read_without_its_file(folder: Path) -> None:
    trial = read(folder, "trial: {network: {aggregator: own.py:Pool}}").trials[0]
    (folder / "own.py").unlink()
    again = TrialSpec.model_validate_json(json.dumps(trial.to_json()))
    assert again == trial and again.network.aggregator.digest is not None


def test_every_choice_of_a_trial_is_found() -> None:
    assert {".".join(key) for key in CHOICES} == {
        "data.layout", "input.learnt", "network.backbone", "network.attention", "network.aggregator", "train.loss",
        "evaluate.rerank",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [*CHOICES.values(), AggregatorName, LossName])
def test_every_built_in_is_where_its_line_says(kind: Any) -> None:
    for name, chosen in kind.door.built_in.items():
        if chosen.target:
            module, _, wanted = chosen.target.partition(":")
            file = Path(__file__).resolve().parents[2] / (module.replace(".", "/") + ".py")
            assert f"class {wanted}" in file.read_text(), name


@pytest.mark.parametrize("gone", [False, True])
def test_a_resolved_sweep_over_a_parameter_stays_what_it_was_when_the_file_changes(folder: Path, gone: bool) -> None:
    text = "trial: {network: {aggregator: 'own.py:Pool'}}\nsearch: {grid: {network.aggregator.width: [2, 4]}}"
    sweep = read(folder, text)
    resolved = yaml.safe_dump(resolved_file(sweep))
    own = folder / "own.py"
    own.unlink() if gone else own.write_text(OWN + "\n# another text\n")
    again = read(folder, resolved)
    assert [t.network.aggregator for t in again.trials] == [t.network.aggregator for t in sweep.trials]
    assert [t.network.aggregator.parameters["width"] for t in again.trials] == [2, 4]


def test_a_parameter_that_came_later_changes_no_earlier_id() -> None:
    model = parameters(width=(int, 8), sides=(Names, hashed_unless(())), end=(str, hashed_unless("a")))

    class Later(AggregatorName):
        door = replace(AggregatorName.door, built_in={"old": BuiltIn("", model)})

    assert Later.of("old").parameters == {"width": 8, "sides": [], "end": "a"}
    assert Later.of("old").hashed() == {"name": "old", "width": 8}, "as when there was no end and no sides"
    assert Later.of("old", end="b", sides=["x"]).hashed() == {"name": "old", "width": 8, "sides": ["x"], "end": "b"}


def test_netvlads_with_random_centres_keep_their_ids() -> None:
    pooled = AggregatorName.of("netvlad", clusters=64)
    assert pooled.parameters == {"clusters": 64, "start": "random", "form": 2}
    assert pooled.hashed() == {"name": "netvlad", "clusters": 64}, "as it was when there was no start and no form"
    assert AggregatorName.of("netvlad", start="clusters").hashed() == {
        "name": "netvlad", "clusters": 64, "start": "clusters",
    }  # fmt: skip
    assert AggregatorName.of("netvlad", form=1).hashed() == {"name": "netvlad", "clusters": 64, "form": 1}
