"""Where probes can be pooled: asked for elsewhere, it is one message before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.errors import SweepFileError
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep

OWN = """from torch import nn
class Pool(nn.Module):
    weighs = True
    def __init__(self, channels: int) -> None: ...
class Look(nn.Module):
    def __init__(self, channels: int) -> None: ...
"""
TEXT = """
name: tiny
trial:
  input: {{mode: masked{shown}}}
  network: {{backbone: resnet18, weights: none{network}}}
search:
  searcher: {searcher}
  probes: {{how: pooled}}
  subsets: {{groups: {{a: [building], b: [pole]}}}}
{more}
"""


def read(folder: Path, shown: str = "", network: str = "", searcher: str = "one_network", more: str = "") -> SweepSpec:
    (folder / "own.py").write_text(OWN)
    path = folder / "mine.yaml"
    path.write_text(TEXT.format(shown=shown, network=network, searcher=searcher, more=more))
    return read_sweep(path)


def test_settings_at_the_features_are_pooled_and_those_at_the_picture_are_not(tmp_path: Path) -> None:
    grid = "  grid: {input.mask_at: [picture, features]}"
    sweep = read(tmp_path, more=grid)
    assert [sweep.pools_at(setting) for setting in sweep.settings] == [False, True]
    (only,) = read(tmp_path, ", mask_at: features").settings
    assert read(tmp_path, ", mask_at: features").pools_at(only)
    each = sweep.model_copy(update={"search": sweep.search.model_copy(update={"probes": type(sweep.search.probes)()})})
    assert not any(map(each.pools_at, each.settings))
    (only,) = (spatial := read(tmp_path, ", mask_at: features", ", attention: spatial")).settings
    assert spatial.pools_at(only), "it sees features alone"


@pytest.mark.parametrize(
    ("given", "where", "rule"),
    [
        ({}, "mine.yaml:8: search.probes.how", "probes are pooled from sums where masks weigh the features"),
        ({"searcher": "greedy"}, "search.probes.how", "only networks of searcher one_network can be probed"),
        ({"shown": ", mask_at: features, mask_reduce: max"}, "mask_reduce", "the maximum of classes is none"),
        ({"shown": ", mask_at: features", "network": ", aggregator: own.py:Pool"}, "aggregator", "`sums = True`"),
        ({"shown": ", mask_at: features", "network": ", attention: own.py:Look"}, "attention", "is given the mask"),
    ],
)
def test_what_cannot_be_pooled_is_refused(tmp_path: Path, given: dict[str, str], where: str, rule: str) -> None:
    with pytest.raises(SweepFileError) as caught:
        read(tmp_path, **given)
    assert where in str(caught.value) and rule in str(caught.value) and "\n" not in str(caught.value)
