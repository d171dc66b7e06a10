"""What stands in the demo city, and how the recipe acts on it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from pydantic import ValidationError

from vprdist.demo import atlas, furniture, looks, raster, render, soften, visits, world
from vprdist.spec.demo import NATURAL, ClassRecipe, DemoSpec
from vprdist.spec.vocabulary import CLASSES

SMALL = DemoSpec(height=48, width=64, train=("alder",), validate_cities=("elm",), streets=2, places=5)


def with_recipe(name: str, **knobs: float) -> DemoSpec:
    return DemoSpec.model_validate({**SMALL.model_dump(), "recipe": {name: ClassRecipe(**knobs)}})


def scenes(spec: DemoSpec, visit: int, street: int = 0) -> render.Scene:
    return render.scene(spec, visits.visit(spec, "elm", street, visit))


def rows_of(scene: render.Scene, name: str) -> set[bytes]:
    """Every quad of a class with all that makes its look and place."""
    quads, chosen = scene.quads, scene.quads.label == CLASSES.index(name)
    columns = (quads.origin, quads.along, quads.up, quads.palette.reshape(len(chosen), -1))
    facade = quads.facades[np.maximum(quads.facade, 0)] * (quads.facade >= 0)[:, None]
    return {row.tobytes() for row in np.concatenate([*columns, facade], 1)[chosen]}


def test_default_has_about_1500_pictures_and_enough_queries() -> None:
    spec = DemoSpec()
    assert 1400 <= spec.num_pictures <= 1600
    queries = [
        p for city in spec.validate_cities for v in visits.visits(spec, city, "query") for p in visits.poses(spec, v)
    ]
    assert sum(not p.pano and p.place < spec.places for p in queries) >= 250


def test_spec_refuses_what_cannot_be_made() -> None:
    for bad in ({"width": 100}, {"divisor": 7}, {"recipe": {"buildings": {}}}, {"train": ("elm",)}, {"places": 1},
                {"recipe": {"car": {"churn": 1.5}}}, {"train": ("../x",)}, {"query_visits": 1}):  # fmt: skip
        with pytest.raises(ValidationError):
            DemoSpec.model_validate(bad)
    with pytest.raises(ValidationError, match="Did you mean 'building'"):
        DemoSpec.model_validate({"recipe": {"buildings": {}}})


def test_resolved_spec_is_one_for_explicit_natural_values() -> None:
    identity, churn, repeat = NATURAL["car"]
    explicit = DemoSpec(recipe={"car": ClassRecipe(identity=identity, churn=churn, repeat=repeat)})
    assert explicit.resolved() == DemoSpec().resolved()


def test_drives_come_database_first_and_years_only_grow() -> None:
    for street in range(5):
        drives = [visits.visit(DemoSpec(), "elm", street, n) for n in range(4)]
        assert [d.side for d in drives] == ["database", "query", "query", "query"]
        assert all(a.date < b.date for a, b in itertools.pairwise(drives))


def test_identity_zero_makes_facades_equal() -> None:
    def styles(spec: DemoSpec) -> int:
        scene = scenes(spec, 0)
        numbers = scene.quads.facades[scene.quads.facades[:, 29] == 0]
        return len({row[:15].tobytes() for row in numbers})  # the colours

    assert styles(with_recipe("building", identity=0, churn=0, repeat=0)) == 1
    assert styles(with_recipe("building", identity=1, churn=0, repeat=0)) > 20


def test_churn_zero_keeps_cars_and_churn_one_moves_them() -> None:
    still, moving = with_recipe("car", churn=0), with_recipe("car", churn=1)
    # Drives in one direction: oncoming cars have one lane.
    forward = [n for n in range(4) if not visits.visit(SMALL, "elm", 0, n).backward][:2]
    first, second = (rows_of(scenes(still, n), "car") for n in forward)
    assert first == second
    assert len(first) > 50
    first, second = (rows_of(scenes(moving, n), "car") for n in forward)
    assert len(first & second) < 0.2 * len(first)


@pytest.mark.parametrize("name", ["building", "wall", "fence", "traffic sign"])
def test_static_classes_stay_between_visits(name: str) -> None:
    spec = with_recipe(name, churn=0)
    assert rows_of(scenes(spec, 0), name) == rows_of(scenes(spec, 2), name)


def test_buildings_can_be_made_to_churn() -> None:
    spec = with_recipe("building", churn=1)
    assert len(rows_of(scenes(spec, 0), "building") & rows_of(scenes(spec, 1), "building")) < 0.3 * 100


def test_repeat_draws_looks_from_a_small_stock() -> None:
    def kinds(repeat: float) -> int:
        spec = with_recipe("traffic sign", identity=1, repeat=repeat)
        found = [looks.looks(spec, "traffic sign", "elm", street, 40, None) for street in range(3)]
        return len(np.unique(np.concatenate(found)[:, 1:], axis=0))

    assert kinds(1.0) <= looks.NUM_STOCK
    assert kinds(0.0) == 120
    assert looks.NUM_STOCK < kinds(0.5) < 100


def test_presence_keeps_its_share_at_any_identity() -> None:
    for identity in (0.0, 0.5, 1.0):
        spec = with_recipe("bus", identity=identity, repeat=0)
        table = looks.looks(spec, "bus", "elm", 0, 4000, None)
        assert abs((table[:, 0] < 0.25).mean() - 0.25) < 0.03


def test_foliage_follows_the_season_only_as_far_as_churn_lets_it() -> None:
    drives = [visits.visit(DemoSpec(), "elm", s, n) for s in range(5) for n in range(4)]
    autumn = next(d for d in drives if d.season == "autumn" and d.weather != "snow")
    still = with_recipe("vegetation", churn=0)
    natural = furniture.leaves(DemoSpec(), autumn)
    assert natural[2, 0] > natural[2, 1]  # red above green
    assert np.array_equal(furniture.leaves(still, autumn), furniture.LEAVES["summer"])


def test_streets_are_far_apart() -> None:
    spec = DemoSpec(streets=9, places=30)
    points = []
    for number in range(9):
        street = world.street(spec, "elm", number)
        xs = np.linspace(0, 360, 73)
        points.append(np.array([street.to_map(float(x), 0.0) for x in xs]))
    for i in range(9):
        for j in range(i):
            assert np.hypot(*(points[i][:, None] - points[j][None]).transpose(2, 0, 1)).min() > 100


def test_rasteriser_meets_what_a_slow_ray_caster_meets() -> None:
    """Ray by ray, quad by quad, in double precision: the same quad, at the same depth."""
    scene = scenes(SMALL, 0)
    camera = raster.Camera(x=12.0, y=-1.6, z=1.6, yaw=0.03, pitch=0.02, roll=0.01, focal=24.0, rows=36, columns=48)
    hits, _ = raster.cast(scene.quads, camera)
    rows, origin, along, up = raster.visible(scene.quads, camera)
    xs, ys = camera.grid()
    down = camera.axes()[:, 2].astype(float)
    wrong = 0
    for r, c in [(r, c) for r in range(1, 36, 7) for c in range(1, 48, 6)]:
        d = np.array([xs[c], ys[r], 1.0])
        best = max(0.0, -(down @ d) / 1.6)
        for n, (o, a, b) in enumerate(zip(origin.astype(float), along.astype(float), up.astype(float), strict=True)):
            matrix = np.stack([a, b, -d], 1)
            if abs(np.linalg.det(matrix)) < 1e-9:
                continue
            u, v, t = np.linalg.solve(matrix, -o)
            if t <= 0 or not (0 <= u <= 1 and 0 <= v <= 1) or 1 / t <= best:
                continue
            row = rows[n]
            repeat, shape = scene.quads.repeat[row], int(scene.quads.shape[row])
            column = int(u * repeat[0] * 64) & 63
            line = 63 - (int(v * repeat[1] * 63.99) & 63)
            if atlas.stack()[shape][line, column]:
                best = 1 / t
        wrong += not math.isclose(best, float(hits.nearness[r, c]), rel_tol=1e-3, abs_tol=1e-6)
    assert wrong <= 2  # rays that graze an edge


def test_activations_are_soft_and_mostly_right() -> None:
    drive = visits.visit(DemoSpec(), "elm", 1, 0)
    picture = render.render(DemoSpec(), drive, visits.poses(DemoSpec(), drive)[2])
    assert np.allclose(picture.cover.sum(0), 1, atol=1e-5)
    found = soften.activations(picture.cover, 2, 5)
    assert found.shape == (19, 48, 64)
    assert found.dtype == np.uint8
    total = found.astype(int).sum(0)
    assert total.min() >= 245
    assert total.max() <= 265
    truth = picture.cover.reshape(19, 48, 2, 64, 2).mean((2, 4)).argmax(0)
    assert 0.85 < (found.argmax(0) == truth).mean() < 0.9999
    assert 0 < (found.max(0) < 200).mean() < 0.5  # soft at borders, sure inside


def test_panorama_has_the_same_size() -> None:
    drive = visits.visit(SMALL, "elm", 0, 0)
    pose = visits.poses(SMALL, drive)[0]
    for pano in (False, True):
        picture = render.render(SMALL, drive, type(pose)(**{**pose.__dict__, "pano": pano}))
        assert picture.rgb.shape == (48, 64, 3)
        assert picture.labels.shape == (48, 64)
