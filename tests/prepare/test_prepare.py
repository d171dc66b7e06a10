"""`prepare` and `look` are one pipeline: the same trials, the same refusals, and what one tells the other makes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.worlds import write_activations, zero_a_third
from vprdist.errors import UserError
from vprdist.files import read_json, write_json
from vprdist.prepare.folders import cache_orders
from vprdist.prepare.prepare import Prepared, look, prepare, unready
from vprdist.semantics.cache import verify
from vprdist.semantics.importing import import_cache
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep

SWEEP = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  input: {{mode: masked, {source}}}
  network: {{backbone: resnet18, weights: none, unfreeze: 0-2}}
  train: {{image_size: [32, 40], steps: 5, batch_pairs: 4, micro_pairs: 4}}
search: {{grid: {{network.unfreeze: [0-2, all], input.placebo: [none, random]}}}}
seeds: [0, 1]
"""
DEMO = """
trial:
  data:
    root: demo
    demo: {height: 32, width: 48, supersample: 1, train: [alder], validate: [elm], streets: 1, places: 4}
  input: {mode: masked}
  network: {backbone: resnet18, weights: none}
  train: {image_size: [32, 40], steps: 1, batch_pairs: 4, micro_pairs: 4}
"""
Files = dict[str, tuple[int, int]]


class Listener:
    """Hears what a person would: lines, and the titles of bars that were opened."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.titles: list[str] = []

    @contextmanager
    def bar(self, title: str) -> Iterator[Callable[[int, int], None]]:
        self.titles.append(title)
        yield lambda done, total: None


def prepared(sweep: SweepSpec, runs: Path, heard: Listener | None = None) -> Prepared:
    heard = heard or Listener()
    return prepare(sweep, read_profile("local"), runs, heard.lines.append, heard.bar)


def looked(sweep: SweepSpec, runs: Path) -> Prepared:
    return look(sweep, read_profile("local"), runs)


def files_below(folder: Path) -> Files:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def said_of(prepared: Prepared) -> tuple[object, ...]:
    return prepared.trials, prepared.fallbacks, prepared.num_queries


@pytest.fixture
def sweep(small_tree: Path, tmp_path: Path) -> SweepSpec:
    write_activations(small_tree, ("ada", "bob"), tmp_path / "npz")
    cache = import_cache(tmp_path / "npz", small_tree, tmp_path / "cache")
    return sweep_of(tmp_path, SWEEP.format(root=small_tree, source=f"cache: {cache.path}"))


def sweep_of(folder: Path, text: str) -> SweepSpec:
    (folder / "mine.yaml").write_text(text)
    return read_sweep(folder / "mine.yaml")


def test_what_is_looked_at_is_what_is_prepared(sweep: SweepSpec, small_tree: Path, tmp_path: Path) -> None:
    runs, heard, before = tmp_path / "runs", Listener(), files_below(tmp_path)
    first = looked(sweep, runs)
    assert files_below(tmp_path) == before, "looking writes nothing"
    made = prepared(sweep, runs, heard)
    assert said_of(first) == said_of(made) == said_of(looked(sweep, runs))
    assert len({trial.trial_id for trial in made.trials}) == len(sweep.trials) == 8
    assert made.num_queries == 8, "bob's"
    assert first.notes == (f"the pictures of {small_tree} are there; the sweep opens each of them once",)
    assert made.notes == made.unsegmented == first.unsegmented == ()
    titles = ["checking the cities' pictures", "noting what pictures hold", "checking the cache"]
    assert heard.titles == titles
    prepared(sweep, runs, heard)
    assert heard.titles == titles, "once for each state of a city and a cache"
    assert heard.lines == []
    assert first.resolve(sweep.trials[3]) == made.resolve(sweep.trials[3]) == made.trials[3]


def test_a_cut_picture_is_found_by_whoever_opens_them(sweep: SweepSpec, small_tree: Path, tmp_path: Path) -> None:
    picture = small_tree / "train_val" / "bob" / "query" / "images" / "bob_q005.jpg"
    good = picture.read_bytes()
    picture.write_bytes(good[:300] + bytes(len(good) - 300))  # as long as it was: sizes are what digests go by
    assert looked(sweep, tmp_path / "runs").trials
    with pytest.raises(UserError, match=r"bob_q005\.jpg"):
        prepared(sweep, tmp_path / "runs")


def test_pictures_that_are_turned_are_told_of_when_they_are_first_opened(small_tree: Path, tmp_path: Path) -> None:
    data = f"data: {{root: {small_tree}, train: [ada], validate: [bob]}}"
    sweep = sweep_of(tmp_path, f"trial:\n  {data}\n  network: {{backbone: resnet18, weights: none}}\n")
    exif, path = Image.Exif(), small_tree / "train_val" / "bob" / "query" / "images" / "bob_q002.jpg"
    exif[0x0112] = 8
    with Image.open(path) as image:
        image.save(path, exif=exif)
    heard = Listener()
    for _ in range(2):
        prepared(sweep, tmp_path / "runs", heard)
    told = [line for line in heard.lines if "EXIF" in line]
    assert len(told) == 1 and told[0].startswith("1 of 8 query images of bob are stored turned")


def test_the_demo_city_that_would_be_made_is_made(tmp_path: Path) -> None:
    sweep, runs, heard = sweep_of(tmp_path, DEMO), tmp_path / "runs", Listener()
    first = looked(sweep, runs)
    assert not runs.exists()
    (trial,), (note,) = first.trials, first.notes
    assert trial == sweep.trials[0] and trial.digests is None, "it waits for its city"
    assert first.num_queries is None
    made = prepared(sweep, runs, heard)
    (city,) = (runs / "data").glob("demo-*")
    pictures = len(list(city.rglob("*.jpg")))
    assert note == f"the demo city ({pictures} pictures) would be made in {city} first"
    assert heard.lines == [f"making the built-in demo city in {city}"]
    verify(city / "cache")
    again = looked(sweep, runs)
    assert said_of(again) == said_of(made) and made.trials[0].digests is not None
    assert again.notes == (f"the pictures of {city} are there; the sweep opens each of them once",)


@pytest.fixture
def made_city(tmp_path: Path) -> Path:
    prepared(sweep_of(tmp_path, DEMO), tmp_path / "runs")
    (city,) = (tmp_path / "runs" / "data").glob("demo-*")
    return city


def test_a_city_without_its_cache_is_not_there_yet(made_city: Path, tmp_path: Path) -> None:
    """A driver was killed in between."""
    (made_city / "cache" / "manifest.json").unlink()
    sweep = sweep_of(tmp_path, DEMO)
    (trial,), (note,) = looked(sweep, tmp_path / "runs").trials, looked(sweep, tmp_path / "runs").notes
    assert trial.digests is None and f"would be made in {made_city} first" in note
    assert prepared(sweep, tmp_path / "runs").trials[0].digests is not None


def refusals(sweep: SweepSpec, runs: Path) -> set[str]:
    """What looking and preparing say, in this order: preparing may have changed something."""
    said = set()
    for work in (looked, prepared):
        with pytest.raises(UserError) as refused:
            work(sweep, runs)
        said.add(str(refused.value))
    return said


def test_a_city_of_another_version_is_refused_by_both(made_city: Path, tmp_path: Path) -> None:
    mark = made_city / "demo.json"
    write_json(mark, {**read_json(mark), "generator": -1})
    (said,) = refusals(sweep_of(tmp_path, DEMO), tmp_path / "runs")
    assert "generator" in said and "Name another folder, or delete this one." in said


@pytest.mark.parametrize(("module", "words"), [("faiss", ""), ("tensorboard", "trial.run.tensorboard=true")])
def test_what_is_not_installed_is_refused_by_both(
    sweep: SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, words: str
) -> None:
    asked = read_sweep(tmp_path / "mine.yaml", words.split())
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    (said,) = refusals(asked, tmp_path / "runs")
    assert module in said and "pip install" in said
    if words:
        assert looked(sweep, tmp_path / "runs").trials, "nobody asks for it"


@pytest.mark.parametrize(
    ("aggregator", "words"),
    [
        ("{name: netvlad, clusters: 3201, start: clusters}",
         "aggregator.clusters: clusters of the training pictures' features must not be more "
         "than these, 3200 at most; found 3201. Lower it, or train on more."),
        ("{name: netvlad, clusters: 3201}", None),
        ("{name: netvlad, clusters: 3200, start: clusters}", None),
        ("{name: sralnet, clusters: 3201}", "found 3201"),
        ("{name: sralnet, clusters: 4}", "aggregator.shadows: shadows are filled up by other"),
        ("{name: sralnet, centre_classes: [road, sky], shadow_classes: [sky]}", "a class cannot be of centres and of"),
        ("{name: sralnet, centre_classes: [rode]}",
         "aggregator.centre_classes: every entry must be one of the 19 classes; found 'rode'"),
        ("{name: sralnet, centre_classes: []}", "trial.network.aggregator.centre_classes"),
    ],
)  # fmt: skip
def test_more_clusters_than_features_are_refused_before_anything_starts(
    sweep: SweepSpec, tmp_path: Path, aggregator: str, words: str | None
) -> None:
    text = SWEEP.format(root=sweep.trial.data.root, source=f"cache: {sweep.trial.input.cache}").replace(
        "unfreeze: 0-2}", f"unfreeze: 0-2,\n    aggregator: {aggregator}}}", 1
    )
    if words is None:
        assert looked(sweep_of(tmp_path, text), tmp_path / "runs").trials
        return
    with pytest.raises(UserError) as caught:
        looked(sweep_of(tmp_path, text), tmp_path / "runs")
    assert "mine.yaml:6: trial.network.aggregator." in str(caught.value) and words in str(caught.value)


def segmented(tree: Path, tmp_path: Path, weights: Path) -> SweepSpec:
    source = f"segmenter: {{name: deeplabv3plus, weights: {weights}, image_size: [32, 48]}}"
    return sweep_of(tmp_path, SWEEP.format(root=tree, source=source))


def test_no_cache_of_something_else_is_replaced_and_both_say_so(
    sweep: SweepSpec, small_tree: Path, deeplab_weights: Path, tmp_path: Path
) -> None:
    segmented(small_tree, tmp_path, deeplab_weights)
    other = read_sweep(tmp_path / "mine.yaml", [f"trial.input.cache={tmp_path / 'cache'}"])
    (said,) = refusals(other, tmp_path / "runs")
    assert "'imported'" in said and "In a sweep leave out trial.input.segmenter to use it as it is" in said


@pytest.mark.slow
def test_pictures_that_would_be_segmented_are(small_tree: Path, deeplab_weights: Path, tmp_path: Path) -> None:
    sweep, runs, profile = segmented(small_tree, tmp_path, deeplab_weights), tmp_path / "runs", read_profile("local")
    first = looked(sweep, runs)
    assert not runs.exists()
    (order,) = cache_orders(sweep, profile, runs)
    assert first.unsegmented == (f"56 of 56 pictures would be segmented first, into {order.out}",)
    assert first.notes[1:] == first.unsegmented and unready(sweep, profile, runs) == first.unsegmented[0]
    assert {trial.input.cache for trial in first.trials} == {order.out}
    assert all(trial.digests is None for trial in first.trials), "their cache is part of their ids"

    heard, asked = Listener(), []
    made = prepare(sweep, profile, runs, heard.lines.append, heard.bar, lambda: asked.append("still wanted?"))
    assert asked, "a person may cancel it meanwhile"
    verify(Path(order.out))
    assert all(trial.digests is not None for trial in made.trials)
    again = looked(sweep, runs)
    assert said_of(again) == said_of(made) and again.unsegmented == ()


def test_what_was_written_over_at_the_same_size_stops_the_next_start(
    sweep: SweepSpec, small_tree: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    prepared(sweep, runs)
    picture = small_tree / "train_val" / "ada" / "query" / "images" / "ada_q004.jpg"
    shard = sorted((tmp_path / "cache" / "shards").glob("*.arrow"))[1]
    for path, words in ((picture, "a picture of ada was changed since .* first used it"), (shard, "SHA-256 must be")):
        whole = path.read_bytes()
        zero_a_third(path)
        with pytest.raises(UserError, match=words) as caught:
            prepared(sweep, runs)
        assert caught.value.where == str(path)
        path.write_bytes(whole)
        prepared(sweep, runs)


PLAIN = """
trial:
  data: {{root: {root}, {cities}}}
  network: {{backbone: resnet18, weights: none}}
  train: {{image_size: [32, 40], {train}}}
  evaluate: {{{evaluate}}}
"""


def plain(folder: Path, root: Path, cities: str, train: str, evaluate: str = "gallery: city") -> SweepSpec:
    return sweep_of(folder, PLAIN.format(root=root, cities=cities, train=train, evaluate=evaluate))


def test_what_batches_draw_is_looked_for_before_anything_starts(small_tree: Path, tmp_path: Path) -> None:
    both = "train: [ada], validate: [bob]"
    places = "steps: 3, batches: places, place_pictures: 3, loss: multi_similarity, batch_pairs: 64, micro_pairs: 64"
    for look_at in (looked, prepared):
        with pytest.raises(UserError, match="a batch of 64 places of 3 pictures cannot be filled"):
            look_at(plain(tmp_path, small_tree, both, places), tmp_path / "runs")


def test_who_learns_nothing_needs_no_cities_to_train_on(small_tree: Path, tmp_path: Path) -> None:
    """Data sets with a test part alone are evaluated so."""
    alone = plain(tmp_path, small_tree, "validate: [bob]", "steps: 0")
    assert prepared(alone, tmp_path / "runs").num_queries == 8
    for train, evaluate in (("steps: 1", "gallery: city"), ("steps: 0", "whitening: train, dimensions: [3]")):
        with pytest.raises(UserError, match=r"trial\.data\.train: no city is named, and one is needed"):
            looked(plain(tmp_path, small_tree, "validate: [bob]", train, evaluate), tmp_path / "runs")
