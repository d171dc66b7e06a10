"""The CSVs of MSLS for one side of a demo city: text in, nothing else."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from vprdist.demo.visits import Pose, Visit, poses, subtasks, visits
from vprdist.demo.world import Street, street
from vprdist.spec.demo import DemoSpec
from vprdist.spec.vocabulary import SUBTASKS

LAT0, LON0 = 55.67, 15.0
"""Where easting 500 km, northing 6,170 km lie; degrees. Longitudes and latitudes are near enough, not geodesy."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture of a side, in the order of the CSVs."""

    drive: Visit
    pose: Pose
    street: Street

    @property
    def compass(self) -> float:
        """The camera's heading in degrees clockwise from north, [0, 360)."""
        return math.degrees(self.street.bearing - self.pose.yaw) % 360.0

    @property
    def position(self) -> tuple[float, float]:
        """Recorded easting and northing: the true ones with the receiver's noise, metres."""
        east, north = self.street.to_map(self.pose.x, self.pose.y)
        return east + self.pose.noise_east_m, north + self.pose.noise_north_m


def rows(spec: DemoSpec, city: str, side: str) -> list[Row]:
    """All pictures of one side of a city in the order of its CSVs; the last few sides are kept."""
    return _rows(spec.model_dump_json(by_alias=True), city, side)


@functools.lru_cache(maxsize=4)
def _rows(text: str, city: str, side: str) -> list[Row]:
    spec = DemoSpec.model_validate_json(text)
    return [
        Row(drive=drive, pose=pose, street=street(spec, city, drive.street))
        for drive in visits(spec, city, side)
        for pose in poses(spec, drive)
    ]


def _csv(header: str, lines: list[str]) -> str:
    return "\n".join([f",{header}", *(f"{n},{line}" for n, line in enumerate(lines)), ""])


def _raw(row: Row) -> str:
    east, north = row.position
    lat = LAT0 + (north - 6_170_000) / 111_320
    lon = LON0 + (east - 500_000) / (111_320 * math.cos(math.radians(LAT0)))
    return f"{row.pose.key},{lon:.7f},{lat:.7f},{row.compass % 360:.4f},{row.drive.date.isoformat()},{row.pose.pano}"


def _postprocessed(spec: DemoSpec, row: Row) -> str:
    east, north = row.position
    cluster = row.drive.street * (spec.places + spec.strays) + row.pose.place
    night = row.drive.light == "night"
    return f"{row.pose.key},{east:.3f},{north:.3f},{cluster},False,{night},Forward"


def csvs(spec: DemoSpec, city: str, side: str) -> dict[str, str]:
    """File name -> text of the four CSVs of one side."""
    found = rows(spec, city, side)
    flags = [",".join(str(subtasks(row.drive)[name]) for name in SUBTASKS) for row in found]
    sequence = [f"{row.pose.key},{row.drive.sequence_key},{row.pose.frame}" for row in found]
    return {
        "raw.csv": _csv("key,lon,lat,ca,captured_at,pano", [_raw(row) for row in found]),
        "postprocessed.csv": _csv(
            "key,easting,northing,unique_cluster,control_panel,night,view_direction",
            [_postprocessed(spec, row) for row in found],
        ),
        "seq_info.csv": _csv("key,sequence_key,frame_number", sequence),
        "subtask_index.csv": _csv(",".join(SUBTASKS), flags),
    }
