"""The overlap of two cameras' fields of view on the ground plane, exactly, for many pairs at once.

A field of view is a sector: what lies within a radius of the camera and within half an opening of its compass angle.
Up to 180 degrees it is convex: a disc cut by two half-planes, whose lines are its edges. The overlap of two sectors is
bounded by pieces of two arcs and four edges, and Green's theorem adds its area up from them: the area is half the
integral of p x dp along the boundary, counterclockwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
NUDGE = 2e-10
"""Radii. Edges and arcs of two cameras may coincide, and a piece that both share must count once. So every boundary is
moved inwards by a small length of its own, which no rounding reaches and no result shows (below 1e-7)."""
SMALLEST = 1e-8
"""Square radii. A smaller area is rounding, or fields of view that touch: none."""


@dataclass(frozen=True)
class _Sectors:
    """P sectors in units of the radius; angles counterclockwise from east, in radians.

    A point p lies in one where |p - apex| <= radius, and p · n >= level for both edges: n_2P their inward normals'
    angles, level_2P their distances from the origin.
    """

    apex_P2: Floats
    facing_P: Floats
    half: float
    radius: float
    normal_2P: Floats
    level_2P: Floats


def sector_overlap(
    offset_P2: Floats, ca_query_P: Floats, ca_database_P: Floats, radius_m: float, degrees: float
) -> Floats:
    """(P,) intersection over union of P pairs of sectors, in [0, 1]; below 1e-6 from the exact value.

    Args:
        offset_P2: (P, 2) the database camera's position relative to the query's, metres east and north.
        ca_query_P, ca_database_P: (P,) compass angles, degrees clockwise from north.
        radius_m: metres.
        degrees: opening, at least 1 and at most 180 (the sector is convex).
    """
    half = np.radians(degrees) / 2
    query = _sectors(np.zeros_like(offset_P2), ca_query_P, half, 0)
    database = _sectors(offset_P2 / radius_m, ca_database_P, half, 3)
    # The query camera is the origin: its own edges pass through it, and p x dp is zero along them.
    twice = _along_arc(query, database) + _along_arc(database, query)
    twice += _along_edge(database, 0, query) + _along_edge(database, 1, query)
    area = np.where(twice / 2 > SMALLEST, twice / 2, 0.0)
    return np.asarray(np.minimum(area / np.maximum(2 * half - area, half), 1.0))


def _sectors(apex_P2: Floats, ca_P: Floats, half: float, nudges: int) -> _Sectors:
    facing = np.pi / 2 - np.radians(ca_P)
    normal_2P = np.stack([facing - half + np.pi / 2, facing + half - np.pi / 2])
    inset_21 = NUDGE * np.array([[nudges], [nudges + 1]])
    level_2P = apex_P2[:, 0] * np.cos(normal_2P) + apex_P2[:, 1] * np.sin(normal_2P) + inset_21
    return _Sectors(apex_P2, facing, half, 1 - NUDGE * (nudges + 2), normal_2P, level_2P)


def _along_arc(own: _Sectors, other: _Sectors) -> Floats:
    """(P,) the integral of p x dp over those pieces of the own arcs that lie in the other sectors."""
    east, north = (other.apex_P2 - own.apex_P2).T
    apart_sq = east**2 + north**2
    with np.errstate(divide="ignore"):
        reach = (own.radius**2 + apart_sq - other.radius**2) / (2 * own.radius * np.sqrt(apart_sq))
    own_east, own_north = own.apex_P2.T
    depth_2P = other.level_2P - own_east * np.cos(other.normal_2P) - own_north * np.sin(other.normal_2P)
    # A point of the arc lies in the other disc, or in a half-plane, where cos(angle - centre) >= least.
    centre_3P = np.concatenate([np.arctan2(north, east)[None], other.normal_2P])
    least_3P = np.concatenate([reach[None], depth_2P / own.radius])
    width_3P = np.arccos(np.clip(least_3P, -1, 1))
    centre_3P = centre_3P - own.facing_P
    crossing_6P = _wrapped(np.concatenate([centre_3P - width_3P, centre_3P + width_3P]))
    ends_2P = np.broadcast_to([[-own.half], [own.half]], (2, len(east)))
    # The crossings cut the arc; crossings beyond its ends cut off pieces of length zero.
    cuts_8P = np.sort(np.concatenate([np.clip(crossing_6P, -own.half, own.half), ends_2P]), axis=0)
    middle_7P = (cuts_8P[1:] + cuts_8P[:-1]) / 2
    inside_7P = np.ones(middle_7P.shape, bool)
    for centre, least in zip(centre_3P, least_3P, strict=True):
        inside_7P &= np.cos(middle_7P - centre) >= least
    angle_8P = cuts_8P + own.facing_P
    # p x dp along the arc about the apex a: radius² dt + radius (a x d(cos t, sin t)).
    swept_8P = own.radius * angle_8P + own_east * np.sin(angle_8P) - own_north * np.cos(angle_8P)
    return np.asarray(own.radius * np.where(inside_7P, np.diff(swept_8P, axis=0), 0.0).sum(axis=0))


def _along_edge(own: _Sectors, which: int, other: _Sectors) -> Floats:
    """(P,) the integral of p x dp over that part of one own edge's line that bounds the overlap."""
    normal, level = own.normal_2P[which], own.level_2P[which]
    cos, sin = np.cos(normal), np.sin(normal)
    # Points of the line are level · (cos, sin) + t · (sin, -cos): the sector is on the left of growing t.
    first, last = np.full(len(level), -np.inf), np.full(len(level), np.inf)
    for disc in (own, other):
        east, north = disc.apex_P2.T
        # A line that misses the disc gets a chord of length zero.
        chord = np.sqrt(np.maximum(disc.radius**2 - (east * cos + north * sin - level) ** 2, 0.0))
        middle = east * sin - north * cos
        first, last = np.maximum(first, middle - chord), np.minimum(last, middle + chord)
    for line, bound in (
        (own.normal_2P[1 - which], own.level_2P[1 - which]),
        *zip(other.normal_2P, other.level_2P, strict=True),
    ):
        slope, start = np.sin(normal - line), level * np.cos(normal - line) - bound
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -start / slope
        first = np.where(slope > 0, np.maximum(first, crossing), first)
        last = np.where(slope < 0, np.minimum(last, crossing), last)
        first = np.where((slope == 0) & (start < 0), np.inf, first)
    return np.asarray(-level * np.where(last > first, last - first, 0.0))


def _wrapped(angle: Floats) -> Floats:
    """The same angles in [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)
