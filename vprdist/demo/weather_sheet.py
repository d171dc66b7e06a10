"""A picture sheet of conditions: one pose in every weather at every time, and in more and more traffic."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image, ImageDraw

from vprdist.data.palette import PALETTE
from vprdist.demo.mark import MARK
from vprdist.demo.render import render
from vprdist.demo.visits import poses, visit
from vprdist.errors import DataError, nearest
from vprdist.files import publish, read_json
from vprdist.spec.conditions import Condition, ConditionsSpec, Time, Weather
from vprdist.spec.demo import DemoSpec

GAP, CAPTION = 6, 14
TRAFFIC = (0.0, 0.5, 1.0, 2.0, 4.0)


def conditions_sheet(folder: Path, out: Path, *, city: str | None = None) -> None:
    """Write a PNG of a place in the middle of a street: columns are weathers and rows times; below them, traffic.

    Pictures are rendered, whatever conditions the city was made under; the classes stand below those in traffic.

    Args:
        folder: a complete demo city.
        city: which of its cities; the last one when None.

    Raises:
        DataError: the folder is no complete demo city, has no such city, or is one of a planted truth.
    """
    spec = _spec(Path(folder))
    chosen = spec.cities[-1] if city is None else city
    if chosen not in spec.cities:
        raise DataError(Path(folder) / MARK, "the demo has no such city", chosen, nearest(chosen, spec.cities))
    rows = [
        [
            _cell(spec, chosen, Condition(weather=weather, time=time, traffic=1.0), False)
            for weather in get_args(Weather)
        ]
        for time in get_args(Time)
    ]
    rows.append([_cell(spec, chosen, Condition(weather="clear", time="day", traffic=t), True) for t in TRAFFIC])
    width = max(sum(cell.width + GAP for cell in row) for row in rows) + GAP
    image = Image.new("RGB", (width, sum(row[0].height + GAP for row in rows) + GAP), "white")
    top = GAP
    for row in rows:
        for column, cell in enumerate(row):
            image.paste(cell, (GAP + column * (cell.width + GAP), top))
        top += row[0].height + GAP
    with publish(Path(out)) as stream:
        image.save(stream, format="PNG")


def _spec(folder: Path) -> DemoSpec:
    mark = folder / MARK
    if not mark.is_file():
        raise DataError(
            folder, "a sheet must be made of a complete demo city", remedy="Make it first, or mend the path."
        )
    value = {key: each for key, each in read_json(mark).items() if key != "generator"}
    if value.get("planted"):
        remedy = "Leave --conditions out, or name another folder."
        raise DataError(folder, "a planted city knows no conditions: every day is the same there", None, remedy)
    lists = {key: tuple(each) if isinstance(each, list) else each for key, each in value.items()}
    return DemoSpec.model_validate({**lists, "conditions": None})


def _cell(spec: DemoSpec, city: str, condition: Condition, classes: bool) -> Image.Image:
    """The picture under a caption, the classes below it where they are asked for."""
    asked = ConditionsSpec(database=condition, query=condition)
    visits = max(spec.database_visits, spec.query_visits)
    one = spec.model_copy(update={"conditions": asked, "database_visits": visits})
    drive = visit(one, city, 0, 0)
    pose = poses(one, drive)[spec.places // 2]
    picture = render(one, drive, pose)
    stack = np.concatenate([picture.rgb, PALETTE[picture.labels]]) if classes else picture.rgb
    height, width = stack.shape[:2]
    scale = max(1, round(256 / width))
    cell = Image.new("RGB", (width * scale, height * scale + CAPTION), "white")
    cell.paste(Image.fromarray(stack).resize((width * scale, height * scale), Image.Resampling.NEAREST), (0, CAPTION))
    words = f"traffic {condition.traffic:g}" if classes else f"{condition.weather}, {condition.time}"
    ImageDraw.Draw(cell).text((2, 1), words, fill="black")
    return cell
