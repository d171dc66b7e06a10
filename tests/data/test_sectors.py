"""The overlap of fields of view: against counted points, against a geometric library, and where edges coincide."""

from __future__ import annotations

import numpy as np
import pytest

from vprdist.data.sectors import disc_overlap, sector_overlap

WIDE = [181, 200, 270, 300, 359, 359.99]
DEGREES = [1, 7, 60, 90, 120, 179, 180, *WIDE, 360]


def inside_sector(points, apex, ca, radius, degrees):
    """Which points lie in a sector, by distance and bearing: the definition itself."""
    east, north = (points - apex).T
    bearing = np.degrees(np.arctan2(east, north))
    turn = (bearing - ca + 180) % 360 - 180
    return (np.hypot(east, north) <= radius) & (np.abs(turn) <= degrees / 2)


@pytest.mark.parametrize("seed", range(12))
def test_overlap_equals_counting_points(seed):
    rng = np.random.default_rng(seed)
    offset = rng.uniform(-60, 60, 2) * rng.choice([0.2, 1.0])
    angles = rng.uniform(0, 360, 2)
    degrees = float(rng.choice([60, 90, 180] if seed < 6 else [181, 250, 300, 359, 360]))
    steps = np.arange(-110, 110, 0.2) + 0.1
    points = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    one = inside_sector(points, np.zeros(2), angles[0], 50, degrees)
    two = inside_sector(points, offset, angles[1], 50, degrees)
    expected = (one & two).sum() / (one | two).sum()
    found = sector_overlap(offset[None], angles[:1], angles[1:], 50.0, degrees)[0]
    assert found == pytest.approx(expected, abs=2e-3)


def pairs_to_compare(rng, degrees, count=600):
    """Random pairs, and those where boundaries coincide or nearly do: (count, 2) metres, and two angles."""
    scale = rng.choice([0, 1e-9, 1e-6, 1e-3, 0.2, 1], (count, 1))
    offset = rng.uniform(-75, 75, (count, 2)) * scale
    along = rng.choice([0, 10, 25, 50, 99.999, 100, 100.001, 110], count // 3)
    offset[: count // 3] = np.stack([along, 0 * along], 1)[:, :: rng.choice([-1, 1])] * rng.choice([-1, 1])
    one = rng.choice([0, 45, 90, 135, 200.7], count)
    turn = rng.choice([0, 360, 180, 90, degrees, -degrees, degrees / 2, 1e-9, 1e-6], count)
    return offset, one, np.where(rng.random(count) < 0.6, one + turn, rng.uniform(0, 360, count))


@pytest.mark.parametrize("degrees", DEGREES)
def test_overlap_equals_that_of_a_geometric_library(degrees):
    shapely = pytest.importorskip("shapely", reason="pip install shapely, or the dev extra")

    def sectors(apex, ca, radius, num_points=750 if degrees <= 180 else 1500):
        step = np.radians(degrees) / (num_points - 1)
        radius = radius * np.sqrt(step / np.sin(step))  # a polygon as large as the sector
        bearing = np.radians(ca)[:, None] + np.linspace(-0.5, 0.5, num_points) * np.radians(degrees)
        arc = apex[:, None] + radius * np.stack([np.sin(bearing), np.cos(bearing)], -1)
        if degrees == 360:
            return shapely.polygons(arc[:, :-1])
        return shapely.polygons(np.concatenate([apex[:, None], arc], axis=1))

    offset, one, two = pairs_to_compare(np.random.default_rng(int(degrees)), degrees)
    first, second = sectors(np.zeros_like(offset), one, 50), sectors(offset, two, 50)
    common = shapely.area(shapely.intersection(first, second))
    expected = common / (shapely.area(first) + shapely.area(second) - common)
    found = sector_overlap(offset, one, two, 50, degrees)
    assert (expected > 0.01).sum() > 100
    # The library's arcs are polygons: their error is some 2e-6.
    assert np.abs(found - expected).max() < 5e-6


@pytest.mark.parametrize("degrees", DEGREES)
def test_overlap_does_not_depend_on_who_asks(degrees):
    offset, one, two = pairs_to_compare(np.random.default_rng(int(degrees)), degrees, 3000)
    forth, back = sector_overlap(offset, one, two, 50, degrees), sector_overlap(-offset, two, one, 50, degrees)
    assert np.abs(forth - back).max() < 1e-6
    assert forth.min() >= 0
    assert forth.max() <= 1


@pytest.mark.parametrize("degrees", [1, 30, 90, 180])
@pytest.mark.parametrize("facing", [0, 30, 222.2])
def test_known_overlaps(degrees, facing):
    here, angle = np.zeros((1, 2)), np.array([float(facing)])

    def overlap(turn, offset=here, radius=50):
        return sector_overlap(offset, angle, angle + turn, radius, degrees)[0]

    assert overlap(0) == pytest.approx(1, abs=1e-6)
    assert overlap(360) == pytest.approx(1, abs=1e-6)
    assert overlap(degrees / 2) == pytest.approx(1 / 3, abs=1e-6)
    # A third of an opening is one half exactly, which is a positive; labels are float32.
    assert np.float32(overlap(degrees / 3)) == pytest.approx(0.5, abs=1e-6)
    # What only touches does not overlap at all: edges, arcs, apexes, and two backs.
    assert overlap(degrees) == 0
    assert overlap(180) == 0
    ahead = 100 * np.array([[np.sin(np.radians(facing)), np.cos(np.radians(facing))]])
    assert overlap(180, ahead) == 0
    assert overlap(0, ahead / 2 * (1 + 1e-12)) == pytest.approx(0, abs=1e-9) or degrees > 120
    assert overlap(0, ahead * 1.01) == 0


def test_half_an_overlap_at_the_official_field_of_view_is_a_positive():
    here, one = np.zeros((360, 2)), np.arange(360.0)
    assert (sector_overlap(here, one, one + 30, 50, 90).astype(np.float32) >= 0.5).all()
    assert (sector_overlap(here, one, one + 30.001, 50, 90).astype(np.float32) < 0.5).all()


@pytest.mark.parametrize("degrees", WIDE)
@pytest.mark.parametrize("facing", [0, 30, 222.2])
def test_known_overlaps_of_wide_views(degrees, facing):
    """At one place only the gaps differ: turned away by less than a gap they share a part of it, else none."""
    here, angle, gap = np.zeros((1, 2)), np.array([float(facing)]), 360 - degrees
    for turn in (0, 360, gap / 3, -gap / 2, gap, 90, -179, 180):
        apart = min(abs((turn + 180) % 360 - 180), gap)
        found = sector_overlap(here, angle, angle + turn, 50, degrees)[0]
        assert found == pytest.approx((360 - gap - apart) / (360 - gap + apart), abs=1e-6)
    ahead = 50 * np.array([[np.sin(np.radians(facing)), np.cos(np.radians(facing))]])
    assert sector_overlap(ahead * 2, angle, angle + 180, 50, degrees)[0] == 0
    assert sector_overlap(ahead * 2.1, angle, angle, 50, degrees)[0] == 0


@pytest.mark.parametrize("degrees", [181.0, 200.0, 240.0])
def test_wide_views_that_look_away_from_what_both_reach_share_nothing(degrees):
    """The lens between the two cameras lies in both gaps, or touches the views in points alone."""
    offset = np.array([[0.0, 99.0], [0.0, 99.9999], [0.0, 100.0]])
    behind = np.full(3, 180.0)
    assert (sector_overlap(offset, behind, behind - 180, 50, degrees) == 0).all()
    assert sector_overlap(offset, behind - 180, behind, 50, degrees)[0] > 1e-4


def test_a_view_all_round_is_a_function_of_the_distance_and_the_limit_of_wide_ones():
    rng = np.random.default_rng(3)
    offset = rng.uniform(-75, 75, (500, 2)) * rng.choice([0, 1e-9, 0.1, 1], (500, 1))
    one, two = rng.uniform(-400, 400, (2, 500))
    found = sector_overlap(offset, one, two, 50, 360)
    assert np.array_equal(found, disc_overlap(np.hypot(*offset.T), 50))
    assert np.array_equal(found, sector_overlap(offset, np.full(500, np.nan), two, 50, 360)), "no angle matters"
    assert np.abs(found - sector_overlap(offset, one, two, 50, 360 - 1e-6)).max() < 1e-6
    assert (
        np.abs(sector_overlap(offset, one, two, 50, 180 + 1e-6) - sector_overlap(offset, one, two, 50, 180)).max()
        < 1e-6
    )


@pytest.mark.parametrize("radius", [1.0, 50.0, 120.0])
def test_discs_overlap_as_slices_of_them_do(radius):
    """The lens cut into slices across the line between the cameras; where it is one half, and what 25 m of 50 are."""
    distance = np.append(np.linspace(0, 2.2, 23), 0.52986) * radius
    expected = []
    for apart in distance:
        ends, step = np.linspace(apart / 2, max(radius, apart / 2), 400_001, retstep=True)
        heights = 2 * np.sqrt(np.maximum(radius**2 - ends**2, 0))
        lens = 2 * step * (heights.sum() - (heights[0] + heights[-1]) / 2)
        expected.append(lens / (2 * np.pi * radius**2 - lens))
    found = disc_overlap(distance, radius)
    assert found == pytest.approx(expected, abs=1e-6)
    assert found[0] == 1 and found[-1] == pytest.approx(0.5, abs=1e-5)
    assert (found[distance >= 2 * radius] == 0).all() and (np.diff(found[:21]) < 0).all()
    assert disc_overlap(np.array([radius / 2]), radius)[0] == pytest.approx(0.52095, abs=1e-5)
