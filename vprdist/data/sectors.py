"""The overlap of two cameras' fields of view on the ground plane, exactly, for many pairs at once.

A field of view is a sector: what lies within a radius of the camera and within half an opening of its compass angle.
Up to 180 degrees it is convex: a disc cut by two half-planes, whose lines are its edges. The overlap of two sectors is
bounded by pieces of two arcs and four edges, and Green's theorem adds its area up from them: the area is half the
integral of p x dp along the boundary, counterclockwise.

A wider sector is a disc without a gap, which is convex: with discs D, D' and gaps C, C' the overlap is
|D D'| - |D C'| - |C D'| + |C C'|. At 360 degrees there is no gap, and the overlap is a function of the distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    """P convex sectors in units of the radius, with K = 2 edges each, or P discs, with none; angles counterclockwise
    from east, in radians.

    A point p lies in one where |p - apex| <= radius, and p · n >= level for all edges: normal_KP their inward normals'
    angles, level_KP their distances from the origin.
    """

    apex_P2: Floats
    facing_P: Floats
    half: float
    radius: float
    normal_KP: Floats
    level_KP: Floats

    @property
    def discs(self) -> _Sectors:
        """The discs that these sectors are cut from."""
        none = self.normal_KP[:0]
        return replace(self, half=np.pi, normal_KP=none, level_KP=none)


def sector_overlap(
    offset_P2: Floats, ca_query_P: Floats, ca_database_P: Floats, radius_m: float, degrees: float
) -> Floats:
    """(P,) intersection over union of P pairs of sectors, in [0, 1]; below 1e-6 from the exact value.

    Args:
        offset_P2: (P, 2) the database camera's position relative to the query's, metres east and north.
        ca_query_P, ca_database_P: (P,) compass angles, degrees clockwise from north.
        radius_m: metres.
        degrees: opening, at least 1 and at most 360, where the angles do not matter.
    """
    if degrees == 360:
        return disc_overlap(np.hypot(*offset_P2.T), radius_m)
    half = np.radians(degrees) / 2
    apex_P2, ends_P2 = np.zeros_like(offset_P2), offset_P2 / radius_m
    if degrees <= 180:
        area = _common(_sectors(apex_P2, ca_query_P, half, 0), _sectors(ends_P2, ca_database_P, half, 3))
    else:
        query = _sectors(apex_P2, ca_query_P + 180, np.pi - half, 0)
        database = _sectors(ends_P2, ca_database_P + 180, np.pi - half, 3)
        area = _common(query.discs, database.discs) - _common(query.discs, database)
        area += _common(query, database) - _common(query, database.discs)
    area = np.where(area > SMALLEST, area, 0.0)
    return np.asarray(np.minimum(area / np.maximum(2 * half - area, half), 1.0))


def disc_overlap(distance_P: Floats, radius_m: float) -> Floats:
    """(P,) intersection over union of two discs of one radius, in [0, 1]: the views of cameras that look all round.

    It falls from 1 at no distance through 1/2 at 0.52986 radii to 0 at two radii.

    Args:
        distance_P: (P,) metres between the cameras.
        radius_m: metres.
    """
    share_P = np.minimum(distance_P / (2 * radius_m), 1.0)
    # In square radii: two segments of the circle, each cut off at half the distance.
    lens_P = 2 * (np.arccos(share_P) - share_P * np.sqrt(1 - share_P**2))
    return np.asarray(lens_P / (2 * np.pi - lens_P))


def _sectors(apex_P2: Floats, ca_P: Floats, half: float, nudges: int) -> _Sectors:
    facing = np.pi / 2 - np.radians(ca_P)
    normal_2P = np.stack([facing - half + np.pi / 2, facing + half - np.pi / 2])
    inset_21 = NUDGE * np.array([[nudges], [nudges + 1]])
    level_2P = apex_P2[:, 0] * np.cos(normal_2P) + apex_P2[:, 1] * np.sin(normal_2P) + inset_21
    return _Sectors(apex_P2, facing, half, 1 - NUDGE * (nudges + 2), normal_2P, level_2P)


def _common(query: _Sectors, database: _Sectors) -> Floats:
    """(P,) the area that is common to both, in square radii, within rounding and nudges (1e-8)."""
    # The query camera is the origin: its own edges pass through it, and p x dp is zero along them.
    twice = _along_arc(query, database) + _along_arc(database, query)
    for which in range(len(database.normal_KP)):
        twice += _along_edge(database, which, query)
    return twice / 2


def _along_arc(own: _Sectors, other: _Sectors) -> Floats:
    """(P,) the integral of p x dp over those pieces of the own arcs that lie in the other sectors.

    L = K + 1 bounds of the other sector, C = 2 L crossings with them, D = C + 2 cuts, E = D - 1 pieces between.
    """
    east, north = (other.apex_P2 - own.apex_P2).T
    apart_sq = east**2 + north**2
    with np.errstate(divide="ignore"):
        reach = (own.radius**2 + apart_sq - other.radius**2) / (2 * own.radius * np.sqrt(apart_sq))
    own_east, own_north = own.apex_P2.T
    depth_KP = other.level_KP - own_east * np.cos(other.normal_KP) - own_north * np.sin(other.normal_KP)
    # A point of the arc lies in the other disc, or in a half-plane, where cos(angle - centre) >= least.
    centre_LP = np.concatenate([np.arctan2(north, east)[None], other.normal_KP])
    least_LP = np.concatenate([reach[None], depth_KP / own.radius])
    width_LP = np.arccos(np.clip(least_LP, -1, 1))
    centre_LP = centre_LP - own.facing_P
    crossing_CP = _wrapped(np.concatenate([centre_LP - width_LP, centre_LP + width_LP]))
    ends_2P = np.broadcast_to([[-own.half], [own.half]], (2, len(east)))
    # The crossings cut the arc; crossings beyond its ends cut off pieces of length zero.
    cuts_DP = np.sort(np.concatenate([np.clip(crossing_CP, -own.half, own.half), ends_2P]), axis=0)
    middle_EP = (cuts_DP[1:] + cuts_DP[:-1]) / 2
    inside_EP = np.ones(middle_EP.shape, bool)
    for centre, least in zip(centre_LP, least_LP, strict=True):
        inside_EP &= np.cos(middle_EP - centre) >= least
    angle_DP = cuts_DP + own.facing_P
    # p x dp along the arc about the apex a: radius² dt + radius (a x d(cos t, sin t)).
    swept_DP = own.radius * angle_DP + own_east * np.sin(angle_DP) - own_north * np.cos(angle_DP)
    return np.asarray(own.radius * np.where(inside_EP, np.diff(swept_DP, axis=0), 0.0).sum(axis=0))


def _along_edge(own: _Sectors, which: int, other: _Sectors) -> Floats:
    """(P,) the integral of p x dp over that part of one own edge's line that bounds the overlap."""
    normal, level = own.normal_KP[which], own.level_KP[which]
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
        (own.normal_KP[1 - which], own.level_KP[1 - which]),
        *zip(other.normal_KP, other.level_KP, strict=True),
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
