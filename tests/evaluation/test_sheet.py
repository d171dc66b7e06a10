"""The sheet that a job leaves: its pixels are what enters the network, as dark as it is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.worlds import write_activations, write_small_tree
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.evaluation.ranking import Ranking
from vprdist.evaluation.sheet import GAP, LINE, TITLE, headline, network_views, view_labels, write_sheet
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.network.stem import InputStem
from vprdist.semantics.cache import grid_of
from vprdist.semantics.importing import import_cache
from vprdist.semantics.masks import FULL, full_level
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import FORM_WORDS, STATIC_CLASSES, MaskFill

SIZE, SCALE = (32, 40), 3
CASES = [
    {"mode": "rgb"},
    {"mode": "masked", "mask_reduce": "sum"},
    {"mode": "masked", "mask_reduce": "mean"},
    {"mode": "masked", "mask_reduce": "mean", "placebo": "random"},
    {"mode": "masked", "mask_reduce": "max", "placebo": "image", "classes": ("car", "road")},
    {"mode": "masked", "mask_reduce": "mean", "placebo": "classes", "classes": ("road",)},
    {"mode": "rgb+mask", "mask_reduce": "mean"},
    {"mode": "rgb+semantics"},
]


@pytest.fixture(scope="module", params=["cells", "corners"])
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree and its cache."""
    root = write_small_tree(tmp_path_factory.mktemp("world") / "tree")
    write_activations(root, ("ada", "bob"), root.with_name("npz"))
    for path in root.with_name("npz").glob("*.npz"):
        with np.load(path) as archive:
            content = dict(archive)
        np.savez(path, **(content | {"grid": np.array(request.param)}))
    import_cache(root.with_name("npz"), root, root.with_name("cache"))
    return root, root.with_name("cache")


def trial_of(place: tuple[Path, Path], **given: object) -> TrialSpec:
    root, cache = place
    data = DataSpec(root=str(root), train=("ada",), validate_cities=("bob",))
    train = TrainSpec(image_size=SIZE)
    return TrialSpec(data=data, input=InputSpec(cache=str(cache), **given).resolved(), train=train, seed=3)  # type: ignore[arg-type]


def entering(trial: TrialSpec, image: torch.Tensor, extra: torch.Tensor | None) -> np.ndarray:
    """What the network's first layer is given, with ImageNet's normalisation undone: (C, H, W) in [0, 255]."""
    given = trial.input
    full = full_level(len(given.class_names), given.mask_reduce) if given.mask_reduce else FULL
    stem = InputStem(given.mode, full, grid_of(Path(str(given.cache)))).double()
    batch = stem(image[None], None if extra is None else extra[None])[0]
    batch[:3] = batch[:3] * stem.std[0] + stem.mean[0]
    return (255 * batch).numpy()


@pytest.mark.parametrize("given", CASES, ids=lambda given: "-".join(map(str, given.values())))
def test_a_view_is_what_enters_the_network(cache: tuple[Path, Path], given: dict[str, object]) -> None:
    trial = trial_of(cache, **given)
    reader, side = PlaceReader(trial, SIZE), read_city(cache[0], "bob").query
    image, extra = reader.read(side, 5)
    views = [np.asarray(view).astype(float) for view in network_views(reader, image, extra)]
    labels = view_labels(trial.input)
    assert len(views) == len(labels)
    wanted = entering(trial, image, extra)
    assert np.abs(views[0] - wanted[:3].transpose(1, 2, 0)).max() <= 0.501
    dark = views[0]
    if given["mode"] == "rgb+mask":
        dark = np.repeat(wanted[3][..., None], 3, axis=2)
        assert labels[1] == "mask" and np.abs(views[1] - dark).max() <= 0.501
    if given.get("mask_reduce") == "mean" and given.get("classes") is None:
        assert labels[-1] == "stretched 10 x"
        assert dark.max() <= 28, "ten classes never exceed a tenth"
        assert np.abs(views[-1] - 10 * dark).max() <= 5.01 and views[-1].max() > 3 * dark.max()
    else:
        assert not any("stretched" in label for label in labels)


@pytest.mark.parametrize("fill", ["mean", "blur", "noise"])
@pytest.mark.parametrize("how", ["mean", "sum"])
def test_a_view_in_another_form_is_what_enters_the_network(cache: tuple[Path, Path], fill: MaskFill, how: str) -> None:
    trial = trial_of(cache, mode="masked", mask_reduce=how, mask_fill=fill)
    reader, side = PlaceReader(trial, SIZE), read_city(cache[0], "bob").query
    image, extra = reader.read(side, 5)
    views = [np.asarray(view).astype(float) for view in network_views(reader, image, extra)]
    word = f"picture x mask, filled with {FORM_WORDS[fill]}"
    assert view_labels(trial.input) == ((word, "its mask stretched 10 x") if how == "mean" else (word,))
    for view, full in zip(views, (full_level(10, trial.input.mask_reduce), FULL), strict=False):  # type: ignore[arg-type]
        stem = InputStem("masked", full, reader.grid, fill)
        wanted = stem(image[None], extra[None])[0] * stem.std[0] + stem.mean[0]
        assert np.abs(view - 255 * wanted.permute(1, 2, 0).numpy()).max() <= 0.51
    assert len(views) == (2 if how == "mean" else 1)


@pytest.mark.parametrize("how", ["mean", "sum"])
def test_mean_colour_is_the_networks_own(cache: tuple[Path, Path], how: str) -> None:
    trial = trial_of(cache, mode="masked", mask_reduce=how, mask_fill="mean")
    reader, mean = PlaceReader(trial, SIZE), (0.75, 0.5, 0.25)
    image, extra = reader.read(read_city(cache[0], "bob").query, 5)
    views = [np.asarray(view).astype(float) for view in network_views(reader, image, extra, mean)]
    assert len(views) == (2 if how == "mean" else 1)
    for view, full in zip(views, (full_level(10, trial.input.mask_reduce), FULL), strict=False):  # type: ignore[arg-type]
        stem = InputStem("masked", full, reader.grid, "mean", mean=mean, std=(0.5, 0.5, 0.5))
        wanted = stem(image[None], extra[None])[0] * stem.std[0] + stem.mean[0]
        assert np.abs(view - 255 * wanted.permute(1, 2, 0).numpy()).max() <= 0.51


def test_at_the_features_the_picture_stays_and_its_weights_stand_beside(cache: tuple[Path, Path]) -> None:
    trial = trial_of(cache, mode="masked", mask_reduce="sum", mask_at="features")
    reader, side = PlaceReader(trial, SIZE), read_city(cache[0], "bob").query
    image, extra = reader.read(side, 5)
    picture, weights = (np.asarray(view) for view in network_views(reader, image, extra))
    assert view_labels(trial.input) == ("picture", "weights of the features")
    assert (picture == image.permute(1, 2, 0).numpy()).all() and np.ptp(weights, axis=2).max() == 0
    assert "it weighs the features" in headline(trial.input)


def test_a_network_knows_the_grid_of_its_cache(cache: tuple[Path, Path]) -> None:
    stem = build_network(trial_of(cache, mode="masked", mask_reduce="mean"), None).stem
    assert (stem.grid, stem.full) == (grid_of(cache[1]), 2550)


def test_the_sheet_holds_these_pixels_and_says_what_they_are(cache: tuple[Path, Path], tmp_path: Path) -> None:
    trial = trial_of(cache, mode="masked", mask_reduce="mean", placebo="random")
    reader, city = PlaceReader(trial, SIZE), read_city(cache[0], "bob")
    (task,) = build_tasks([city], trial)
    rows = [np.roll(np.arange(len(task.gallery)), -query)[:6] for query in range(len(task.queries))]
    write_sheet(tmp_path / "sheet.png", reader, Ranking([task], [rows]))
    assert headline(trial.input) == (
        "Queries and what was retrieved, all as the network sees them: picture x mask; below, stretched 10 x. "
        "Mask: mean of 10 classes; placebo: random blobs."
    )
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(float)
    height, width = SIZE[0] * SCALE, SIZE[1] * SCALE
    cell = (width + GAP, 2 * (height + GAP) + TITLE)
    lines = (len(sheet) - GAP - cell[1] * len(task.queries)) // LINE
    assert lines in (2, 3) and (sheet[: GAP + LINE * lines] < 128).any(), "the head is written"
    for line in range(len(task.queries)):
        for column in range(5):
            side, row = (city.query, int(task.queries[line])) if not column else (city.database, 0)
            if column:
                row = int(task.gallery[rows[line][column - 1]])
            dark = entering(trial, *reader.read(side, row))[:3].transpose(1, 2, 0)
            x, y = GAP + column * cell[0], GAP + LINE * lines + line * cell[1] + TITLE
            for number, wanted in enumerate((dark, 10 * dark)):
                top = y + number * (height + GAP)
                found = sheet[top : top + height, x : x + width][1::SCALE, 1::SCALE]
                off = np.abs(found - wanted)[1:-1, 1:-1]
                assert off.max() <= (0.501, 5.01)[number], (line, column)


def test_headlines() -> None:
    def of(**given: object) -> str:
        return headline(InputSpec(**given).resolved())  # type: ignore[arg-type]

    assert of() == "Queries and what was retrieved: pictures as the network sees them."
    masked = of(mode="masked", mask_reduce="sum", classes=("sky", "road"))
    assert masked.endswith("all as the network sees them: picture x mask. Mask: sum of road, sky.")
    beside = of(mode="rgb+mask", classes=STATIC_CLASSES)
    assert "all as the network sees them: picture; below, mask and stretched 10 x. Mask: mean of 10 classes." in beside
