"""Graded similarity of two cameras: the overlap of their fields of view on the ground plane (GCL, section 3.1).

A field of view is a sector of radius `radius_m` that opens `degrees` about the compass angle. The similarity of a
query and a database image is the intersection over union of their sectors, in [0, 1]. Only pairs whose sectors can
meet (positions within two radii) are looked at: everything else is 0 and never stored.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from vprdist.data.positives import rows_within

Floats = npt.NDArray[np.float64]
NUM_RAYS = 192
"""Rays a sector. The error of the overlap falls with their number; the tests hold it below 2e-3."""
CHUNK_PAIRS = 16_384
"""Pairs at once: a few arrays of pairs by rays stay within some hundred megabytes."""


def sector_overlap(
    offset_P2: Floats, ca_query_P: Floats, ca_database_P: Floats, radius_m: float, degrees: float
) -> Floats:
    """(P,) intersection over union of P pairs of sectors.

    Args:
        offset_P2: (P, 2) the database camera's position relative to the query's, metres east and north.
        ca_query_P, ca_database_P: (P,) compass angles, degrees clockwise from north.
        radius_m: metres.
        degrees: opening, at most 180 (the sector is convex).
    """
    half = np.radians(degrees) / 2
    # Rays from the query camera through the middle of equal slices of its sector. Along one ray the database
    # camera's sector, which is convex, is one interval of distances: the overlap's area is a sum over rays.
    steps = (np.arange(NUM_RAYS) + 0.5) / NUM_RAYS * 2 - 1
    bearing_PR = np.radians(ca_query_P)[:, None] + steps[None, :] * half
    ray_east, ray_north = np.sin(bearing_PR), np.cos(bearing_PR)
    east, north = offset_P2[:, :1], offset_P2[:, 1:]
    near, far = _disc_interval(ray_east, ray_north, east, north, radius_m)
    near, far = np.maximum(near, 0.0), np.minimum(far, radius_m)
    facing = np.radians(ca_database_P)[:, None]
    for side in (-1, 1):
        # Inward normal of one edge of the database camera's sector.
        angle = facing + side * (half - np.pi / 2)
        near, far = _clip_half_plane(ray_east, ray_north, east, north, np.sin(angle), np.cos(angle), near, far)
    slice_area = np.where(far > near, far**2 - near**2, 0.0).sum(axis=1) / 2 * (2 * half / NUM_RAYS)
    sector_area = half * radius_m**2
    return np.asarray(slice_area / (2 * sector_area - slice_area))


def _disc_interval(
    ray_east: Floats, ray_north: Floats, east: Floats, north: Floats, radius_m: float
) -> tuple[Floats, Floats]:
    along = ray_east * east + ray_north * north
    inside = along**2 - (east**2 + north**2 - radius_m**2)
    root = np.sqrt(np.maximum(inside, 0.0))
    # A ray that misses the disc gets an empty interval of finite ends.
    return np.where(inside > 0, along - root, radius_m), np.where(inside > 0, along + root, 0.0)


def _clip_half_plane(
    ray_east: Floats, ray_north: Floats, east: Floats, north: Floats, normal_east: Floats, normal_north: Floats,
    near: Floats, far: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Keep the part of each ray with (point - apex) · normal >= 0."""
    slope = ray_east * normal_east + ray_north * normal_north
    start = -(east * normal_east + north * normal_north)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -start / slope
    near = np.where(slope > 0, np.maximum(near, crossing), near)
    far = np.where(slope < 0, np.minimum(far, crossing), far)
    return near, np.where((slope == 0) & (start < 0), 0.0, far)


def graded_similarity(
    query_N2: Floats,
    ca_query_N: Floats,
    database_M2: Floats,
    ca_database_M: Floats,
    radius_m: float,
    degrees: float,
) -> csr_matrix:
    """(N, M) sparse similarities; absent entries are 0. Positions in metres, angles in degrees."""
    reach = rows_within(query_N2, database_M2, 2 * radius_m)
    counts = np.array([len(rows) for rows in reach], dtype=np.int64)
    query = np.repeat(np.arange(len(query_N2)), counts)
    database = np.concatenate(reach) if len(reach) else np.empty(0, np.int64)
    values = np.empty(len(query))
    for begin in range(0, len(query), CHUNK_PAIRS):
        part = slice(begin, begin + CHUNK_PAIRS)
        offset = database_M2[database[part]] - query_N2[query[part]]
        values[part] = sector_overlap(offset, ca_query_N[query[part]], ca_database_M[database[part]], radius_m, degrees)
    keep = values > 0
    shape = (len(query_N2), len(database_M2))
    return csr_matrix((values[keep], (query[keep], database[keep])), shape=shape)
