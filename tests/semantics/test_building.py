"""Many builders of one cache: real processes, some of them killed; the bytes are those of one builder."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from vprdist.data.layouts import open_layout
from vprdist.errors import CacheError
from vprdist.semantics import building
from vprdist.semantics.building import build_part, progress_of
from vprdist.semantics.cache import open_cache
from vprdist.semantics.importing import import_cache
from vprdist.semantics.planning import Plan, make_plan
from vprdist.semantics.sources import open_source

from .conftest import COUNTS, SHARD_IMAGES, World
from .test_importing import contents, go_on

PART = """
import os, signal, sys
from pathlib import Path
from vprdist.semantics import building
from vprdist.data.layouts import open_layout
from vprdist.semantics.planning import make_plan
from vprdist.semantics.sources import open_source
source, root, out, index, count, die_at, hold_at, *cities = sys.argv[1:]
write, look, made = building.write_shard, building.progress_of, []
def say(word, place):
    print(word, flush=True)
    if place == hold_at:
        sys.stdin.readline()
def write_shard(folder, file, *more):
    made.append(file)
    if len(made) == int(die_at):
        os.kill(os.getpid(), signal.SIGKILL)
    say(file, str(len(made)))
    return write(folder, file, *more)
def progress_of(*what):
    found = look(*what)
    say("looked", "look")
    return found
building.write_shard, building.progress_of = write_shard, progress_of
source = open_source(Path(source))
plan = make_plan(source, open_layout(Path(root)), tuple(cities), None, 4)
cache = building.build_part(source, plan, Path(out), "imported", int(index), int(count))
print("complete" if cache else "not yet", flush=True)
"""


def plan_of(world: World) -> Plan:
    return make_plan(open_source(world.source), open_layout(world.root), ("amman", "cph"), None, SHARD_IMAGES)


def start(
    world: World, out: Path, index: int, count: int, *, die_at: int = 0, hold_at: str = "",
    cities: tuple[str, ...] = ("amman", "cph"),
) -> subprocess.Popen[str]:  # fmt: skip
    """A builder; `hold_at`: it waits for a line in the midst of a shard, the first is 1, or before it leaves (look)."""
    words = [sys.executable, "-c", PART, *map(str, (world.source, world.root, out, index, count, die_at)), hold_at]
    return subprocess.Popen([*words, *cities], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def heard(builder: subprocess.Popen[str], lines: int = 1) -> list[str]:
    """So many of its lines, the last of which it says before it waits."""
    assert builder.stdout is not None
    return [builder.stdout.readline().strip() for _ in range(lines)]


@pytest.fixture
def whole(world: World) -> dict[str, bytes]:
    import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    return contents(world.out)


def test_parts_share_the_shards_and_the_last_one_publishes(world: World, whole: dict[str, bytes]) -> None:
    out = world.out.with_name("parts")
    tasks = [start(world, out, index, 3, hold_at="1") for index in range(3)]
    said = [heard(task) for task in tasks]  # each has begun one before any goes on, whoever starts late
    for task in tasks:
        go_on(task)
    for lines, task in zip(said, tasks, strict=True):
        lines += task.communicate(timeout=60)[0].splitlines()
    made = Counter(line for lines in said for line in lines if line.endswith(".arrow"))
    assert made == Counter({name: 1 for name in whole if name.endswith(".arrow")}), "each shard by one task"
    assert "complete" in {lines[-1] for lines in said}
    assert contents(out) == whole


def test_who_leaves_last_cleans_up_though_another_one_published(world: World, whole: dict[str, bytes]) -> None:
    out, shards = world.out.with_name("late"), len(plan_of(world).shards)
    last = start(world, out, 1, 2, hold_at="1")
    heard(last)
    idle = start(world, out, 0, 2, hold_at="look")
    assert heard(idle, shards)[-1] == "looked", "all but one are made, and it has nothing left to do"
    go_on(last)
    assert last.communicate(timeout=60)[0].splitlines() == ["looked", "complete"]
    assert list((out / "shards").glob("*.json")), "somebody is still there"
    go_on(idle)
    assert idle.communicate(timeout=60)[0] == "not yet\n"
    assert contents(out) == whole


@pytest.mark.parametrize("only", [0, 2])
def test_one_task_of_three_makes_everything_when_the_others_never_start(
    world: World, whole: dict[str, bytes], only: int
) -> None:
    out = world.out.with_name("one")
    cache = build_part(open_source(world.source), plan_of(world), out, "imported", only, 3)
    assert cache is not None
    assert contents(out) == whole


def test_killed_parts_leave_what_they_finished_and_the_rest_is_made_later(
    world: World, whole: dict[str, bytes]
) -> None:
    out = world.out.with_name("killed")
    tasks = [start(world, out, index, 2, die_at=2 + index) for index in range(2)]
    assert [task.wait(60) for task in tasks] == [-signal.SIGKILL] * 2
    kept = progress_of(plan_of(world), out)
    assert 0 < kept < sum(COUNTS.values())
    with pytest.raises(CacheError, match="written last"):
        open_cache(out)
    before = {name: (out / name).stat().st_mtime_ns for name in contents(out) if name.endswith(".arrow")}
    assert build_part(open_source(world.source), plan_of(world), out, "imported", 0, 1) is not None
    assert contents(out) == whole
    assert all((out / name).stat().st_mtime_ns == time for name, time in before.items()), "and not made again"


def test_a_shard_that_somebody_else_makes_is_left_to_them(world: World) -> None:
    out, plan = world.out.with_name("busy"), plan_of(world)
    holder = """
import sys, time
from pathlib import Path
from vprdist.semantics.build_locks import Builders
from vprdist.data.layouts import open_layout
from vprdist.semantics.planning import make_plan
from vprdist.semantics.sources import open_source
source, root, out = map(Path, sys.argv[1:])
plan = make_plan(open_source(source), open_layout(root), ("amman", "cph"), None, 4)
with Builders(out) as builders, builders.making(plan.shards[1]) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""
    words = [sys.executable, "-c", holder, str(world.source), str(world.root), str(out)]
    other = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    assert build_part(open_source(world.source), plan, out, "imported", 0, 2) is None
    assert progress_of(plan, out) == plan.count - len(plan.shards[1].keys)
    other.kill()
    other.wait()
    assert build_part(open_source(world.source), plan, out, "imported", 1, 2) is not None, "its lock went with it"


def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are written from now on."""
    real, made = building.write_shard, []

    def write(folder: Path, file: str, *more: object) -> object:
        made.append(file)
        return real(folder, file, *more)

    monkeypatch.setattr(building, "write_shard", write)
    return made


def test_parts_make_only_what_is_missing_of_a_published_cache(
    world: World, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, source = world.out.with_name("grown"), open_source(world.source)
    amman = make_plan(source, open_layout(world.root), ("amman",), None, SHARD_IMAGES)
    assert build_part(source, amman, out, "imported", 0, 1) is not None
    made = writes(monkeypatch)
    assert build_part(source, plan_of(world), out, "imported", 0, 1) is not None
    assert made and all("cph" in file for file in made), "published shards have no notes any more, and are not made"
    assert contents(out) == whole
    # As of a build that was cut: notes tell of shards, one is missing, and a bad disk changed another.
    lost, changed = plan_of(world).shards[0].file, plan_of(world).shards[3].file
    (out / "manifest.json").unlink()
    for entry in open_cache(world.out).manifest.shards:
        (out / entry.file).with_suffix(".json").write_text(entry.model_dump_json())
    (out / lost).unlink()
    (out / changed).write_bytes(b"x" + whole[changed][1:])
    made.clear()
    for index in range(2):
        build_part(source, plan_of(world), out, "imported", index, 2)
    assert sorted(made) == sorted([lost, changed])
    assert contents(out) == whole


def test_finished_shards_of_an_order_that_was_cut_outlive_anothers_end(
    world: World, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, source = world.out.with_name("shared"), open_source(world.source)
    amman, cph = (make_plan(source, open_layout(world.root), (city,), None, SHARD_IMAGES) for city in ("amman", "cph"))
    assert start(world, out, 0, 1, die_at=4, cities=("amman",)).wait(60) == -signal.SIGKILL
    kept = progress_of(amman, out)
    assert 0 < kept < amman.count
    building.build(source, cph, out, "imported")
    assert progress_of(amman, out) == kept
    made = writes(monkeypatch)
    assert build_part(source, amman, out, "imported", 0, 1) is not None
    assert len(made) == len(amman.shards) - 3
    assert contents(out) == whole


def test_a_builder_of_another_city_is_not_cleaned_away(world: World, whole: dict[str, bytes]) -> None:
    """Whoever publishes first must not remove shards that nobody has listed yet."""
    out = world.out.with_name("cities")
    source = open_source(world.source)
    amman, cph = (make_plan(source, open_layout(world.root), (city,), None, SHARD_IMAGES) for city in ("amman", "cph"))
    half = start(world, out, 0, 1, hold_at="2", cities=("amman",))
    first, _ = heard(half, 2)  # the second is being made: the first is finished
    building.build(source, cph, out, "imported")
    assert (out / first).exists() and 0 < progress_of(amman, out) < amman.count
    assert "complete" in half.communicate(timeout=60)[0]
    assert contents(out) == whole
