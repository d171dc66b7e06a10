"""Caches of other classes, and of the largest activations alone: against the slow, obvious way."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.semantics.conftest import World
from vprdist.cli import main
from vprdist.errors import CacheError, OwnCodeError
from vprdist.files import read_json
from vprdist.semantics.building import build
from vprdist.semantics.cache import Cache, open_cache, verify
from vprdist.semantics.cache.form import Form
from vprdist.semantics.cache.top_k import HEAD, pack, unpack
from vprdist.semantics.exporting import export_npz, export_png
from vprdist.semantics.importing import import_cache
from vprdist.semantics.masks import reduce_mask
from vprdist.semantics.order import CacheOrder
from vprdist.semantics.worker import open_order
from vprdist.spec.base import Names
from vprdist.spec.class_table import table_of
from vprdist.spec.segmenter import SegmenterSpec, written_segmenter
from vprdist.spec.vocabulary import CLASSES, MaskReduce

ODD = ("key", "sha256", "a/b", "x, y", 'it\'s "q"', "Straße", "木", "=1+1", "-", "road")
"""Names of columns, paths, lists, quotes, other scripts, formulas; and one of the 19."""
MANY = tuple(f"thing {index}" for index in range(300))
TABLES = {"odd": ODD, "ade20k": table_of("ade20k").classes, "many": MANY}


def worlds(make_world: Callable[..., World], classes: Names) -> World:
    return make_world("other", classes=classes)


def slowly(activations_CHW: np.ndarray, top_k: int) -> tuple[np.ndarray, list[int]]:
    """What a reader must get of an image, and its record: pixel by pixel."""
    kept = np.zeros_like(activations_CHW)
    lost_by_class, largest, at_a_pixel = [0] * len(activations_CHW), 0, 0
    for y, x in np.ndindex(activations_CHW.shape[1:]):
        values = activations_CHW[:, y, x].tolist()
        order = sorted(range(len(values)), key=lambda c: (-values[c], c))
        for c in order[:top_k]:
            kept[c, y, x] = values[c]
        for c in order[top_k:]:
            lost_by_class[c] += values[c]
            largest = max(largest, values[c])
        at_a_pixel = max(at_a_pixel, sum(values[c] for c in order[top_k:]))
    return kept, [int(activations_CHW.sum()), sum(lost_by_class), largest, at_a_pixel, *lost_by_class]


@pytest.mark.parametrize(("num_classes", "top_k"), [(1, 1), (5, 1), (19, 8), (19, 19), (256, 3), (257, 3), (300, 300)])
def test_the_largest_are_those_of_a_slow_recomputation(num_classes: int, top_k: int) -> None:
    """Few levels make ties at nearly every pixel; one pixel is empty, one is full."""
    levels = np.array([0, 0, 1, 2, 255], np.uint8)
    values = levels[np.random.default_rng(num_classes).integers(0, len(levels), (num_classes, 3, 4))]
    values[:, 0, 0], values[:, 0, 1] = 0, 255
    planes, record = pack(values, top_k)
    kept, told = slowly(values, top_k)
    assert len(planes) == len(Form((3, 4), classes=MANY[:num_classes], top_k=top_k).planes)
    assert (unpack(planes, top_k, num_classes) == kept).all()
    assert record.tolist() == told
    assert (np.diff(planes[:top_k].astype(int), axis=0) <= 0).all()


@pytest.mark.parametrize("compression", ["none", "lz4"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("top_k", [None, 3, "all"])
def test_every_image_comes_back(
    make_world: Callable[..., World], table: str, top_k: int | str | None, compression: str
) -> None:
    classes = TABLES[table]
    world = worlds(make_world, classes)
    k = len(classes) if top_k == "all" else top_k
    cache = import_cache(
        world.source, world.root, world.out, class_table=classes, top_k=k, compression=compression, shard_images=4
    )
    verify(world.out)
    assert cache.classes == classes and cache.manifest.version == 4
    records = []
    for (city, side), images in world.truth.items():
        for key, activations in images.items():
            kept, record = (activations, None) if k is None else slowly(activations, k)
            records.append(record)
            assert (cache.activations(city, side, key) == kept).all()
            assert all((a == b).all() for a, b in zip(cache.views(city, side, key, classes[:3]), kept, strict=False))
            for reduce in ("mean", "sum", "max"):
                for chosen in (classes[:1], classes[2:9:3], classes[::-1], (classes[1], classes[0], classes[1])):
                    truth = reduce_mask(kept[[classes.index(name) for name in chosen]], reduce)
                    assert (cache.mask(city, side, key, chosen, reduce) == truth).all()
    dropped = cache.dropped()
    if k is None:
        assert dropped is None
    else:
        truth = np.array(records)
        assert dropped is not None and dropped.by_class.tolist() == truth[:, HEAD:].sum(axis=0).tolist()
        assert (dropped.whole, dropped.dropped) == tuple(truth[:, :2].sum(axis=0))
        assert (dropped.largest, dropped.at_a_pixel) == tuple(truth[:, 2:4].max(axis=0))


def test_dense_and_all_of_top_k_are_one_cache_to_its_readers(world: World, tmp_path: Path) -> None:
    """Masks, content and digest are those of the 19 as ever; nothing was dropped."""
    dense = import_cache(world.source, world.root, world.out)
    all_of = import_cache(world.source, world.root, tmp_path / "all", top_k=len(CLASSES))
    assert (dense.manifest.version, all_of.manifest.version) == (1, 4)
    assert dense.digest == all_of.digest
    assert [side.content for side in dense.manifest.sides] == [side.content for side in all_of.manifest.sides]
    dropped = all_of.dropped()
    assert dropped is not None and (dropped.dropped, dropped.largest, dropped.share) == (0, 0, 0.0)
    for key in dense.keys("cph", "query"):
        for reduce in ("mean", "sum", "max"):
            one, two = (each.levels("cph", "query", key, CLASSES[:10], reduce) for each in (dense, all_of))
            assert (one == two).all() and one.dtype == two.dtype


def test_less_than_all_is_another_cache(world: World, tmp_path: Path) -> None:
    digests = {
        import_cache(world.source, world.root, tmp_path / str(k), ["cph"], top_k=k).digest for k in (None, 1, 2, 19)
    }
    assert len(digests) == 3


def test_the_page_in_the_docstring_is_enough_to_read_top_k(make_world: Callable[..., World]) -> None:
    """With pyarrow and the page alone."""
    world = worlds(make_world, MANY)
    cache = import_cache(world.source, world.root, world.out, ["cph"], class_table=MANY, top_k=4, compression="zstd")
    manifest = json.loads((world.out / "manifest.json").read_text())
    assert (manifest["storage"], manifest["top_k"], manifest["classes"]) == ("top_k", 4, list(MANY))
    for entry in manifest["shards"]:
        table = pa.ipc.open_file(str(world.out / entry["file"])).read_all()
        assert json.loads(table.schema.metadata[b"vprdist.classes"]) == list(MANY)
        for row in table.to_pylist():
            found = np.zeros((len(MANY), 7 * 9), np.uint8)
            for rank in range(4):
                low, high, value = (np.frombuffer(row[f"{name}:{rank}"], np.uint8) for name in (
                    "class", "class_high", "value",
                ))  # fmt: skip
                found[low + 256 * high.astype(int), np.arange(63)] = value
            truth = world.truth[row["city"], row["side"]][row["key"]]
            record = np.frombuffer(row["dropped"], "<u8").tolist()
            kept, told = slowly(truth, 4)
            assert (found.reshape(kept.shape) == kept).all() and record == told
    assert cache.manifest.shards


@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_changed_bytes_are_found(make_world: Callable[..., World], top_k: int | None, compression: str) -> None:
    """One byte in every part of a shard."""
    world = worlds(make_world, ODD)
    cache = import_cache(
        world.source, world.root, world.out, ["cph"], class_table=ODD, top_k=top_k, compression=compression
    )
    path = world.out / cache.manifest.shards[0].file
    data = path.read_bytes()
    for position in range(5, len(data), 97):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            changed = open_cache(world.out)
            side = cache.manifest.shards[0].side
            for key, activations in world.truth["cph", side].items():
                kept = activations if top_k is None else slowly(activations, top_k)[0]
                assert (changed.activations("cph", side, key) == kept).all()
        except CacheError:
            continue


@pytest.mark.parametrize("top_k", [None, 2])
def test_an_export_is_imported_again(make_world: Callable[..., World], tmp_path: Path, top_k: int | None) -> None:
    """The .npz names its classes; nobody has to."""
    world = worlds(make_world, ODD)
    cache = import_cache(world.source, world.root, world.out, ["cph"], class_table=ODD, top_k=top_k)
    export_npz(world.out, tmp_path / "npz")
    again = import_cache(tmp_path / "npz", world.root, tmp_path / "again", ["cph"])
    assert again.digest == cache.digest and again.classes == ODD
    with pytest.raises(CacheError, match="a PNG cannot be called by this class: 'a/b'"):
        export_png(world.out, tmp_path / "png")
    with pytest.raises(CacheError, match=r"must be of the class table.*class 0 is 'key', not 'wall'"):
        import_cache(tmp_path / "npz", world.root, tmp_path / "else", ["cph"], class_table="ade20k")


def test_what_an_export_cannot_hold_is_said_by_it_and_kept_by_an_import(
    make_world: Callable[..., World], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = worlds(make_world, ODD)
    cache = import_cache(world.source, world.root, world.out, ["cph"], class_table=ODD, top_k=2)
    dropped = cache.dropped()
    assert dropped is not None and dropped.dropped
    exact = f"dropped ({dropped.dropped} of {dropped.whole})"
    assert main(["cache", "export", str(world.out), "--npz", str(tmp_path / "npz")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Not in these files: top 2 of 10 classes" in out and exact in out
    words = ["--data", str(world.root), "--out", str(tmp_path / "again"), "--cities", "cph"]
    assert main(["cache", "import", str(tmp_path / "npz"), *words]) == 0
    assert exact in " ".join(capsys.readouterr().out.split())
    again = open_cache(tmp_path / "again")
    assert exact in again.manifest.segmenter and again.dropped() is None
    export_npz(again.path, tmp_path / "twice")
    third = import_cache(tmp_path / "twice", world.root, tmp_path / "third", ["cph"], top_k=1)
    export_npz(third.path, tmp_path / "last")
    last, lost = read_json(tmp_path / "last" / "export.json")["lost"], third.dropped()
    assert lost is not None and exact in last and f"dropped ({lost.dropped} of {lost.whole})" in last


@pytest.mark.parametrize("top_k", [None, 10])
def test_an_export_of_what_lost_nothing_says_nothing(
    make_world: Callable[..., World], tmp_path: Path, top_k: int | None
) -> None:
    world = worlds(make_world, ODD)
    import_cache(world.source, world.root, world.out, ["cph"], class_table=ODD, top_k=top_k)
    export_npz(world.out, tmp_path / "npz")
    assert "lost" not in read_json(tmp_path / "npz" / "export.json")
    again = import_cache(tmp_path / "npz", world.root, tmp_path / "again", ["cph"])
    assert again.manifest.segmenter == "imported"


@pytest.mark.parametrize(("table", "more"), [(ODD, "classes"), ("vistas65", "table"), (CLASSES, "")])
def test_the_command_that_uses_a_cache_names_its_table(
    make_world: Callable[..., World], tmp_path: Path, capsys: pytest.CaptureFixture[str], table: object, more: str
) -> None:
    classes = table_of("vistas65").classes if table == "vistas65" else table
    world = worlds(make_world, classes)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(classes))
    words = ["--data", str(world.root), "--out", str(world.out), "--cities", "cph", "--class-table", str(names)]
    assert main(["cache", "import", str(world.source), *words]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Use it:"))
    told = shlex.split(line.partition("…")[2] if not more else line.partition("table1.yaml … ")[2])
    assert told[0] == f"trial.input.cache={world.out}"
    wanted = {"": [], "table": ["trial.input.class_table=vistas65"]}
    wanted["classes"] = [f"trial.input.class_table={world.out}", "trial.input.classes=[NAME, …]"]
    assert told[1:] == wanted[more]


def test_pngs_of_other_classes(make_world: Callable[..., World], tmp_path: Path) -> None:
    classes = ("tall house", "Straße", "=1")
    world = worlds(make_world, classes)
    cache = import_cache(world.source, world.root, world.out, ["cph"], class_table=classes)
    export_png(world.out, tmp_path / "png")
    size = cache.size
    again = import_cache(
        tmp_path / "png", world.root, tmp_path / "again", ["cph"], class_table=classes, size=size, top_k=3
    )
    assert again.digest == cache.digest
    with pytest.raises(CacheError, match="PNG for each of the 19 classes"):
        import_cache(tmp_path / "png", world.root, tmp_path / "else", ["cph"], size=size)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, r"must be \(N, 19, h, w\).*--class-table"),
        ({"class_table": "ade20k"}, r"must be \(N, 150, h, w\)"),
        ({"class_table": "ade20"}, r"--class-table: a class table must be.*ade20k"),
        ({"class_table": ("a", "a")}, "name each class once; found 'a'"),
        ({"class_table": ("a", " b")}, "no blanks around it; found ' b'"),
        ({"class_table": ("a", "b\nc")}, "no control characters"),
        ({"class_table": ("a", "")}, "a name of 1 to 100 characters"),
        ({"class_table": ()}, "1 to 1024 classes; found 0"),
        ({"class_table": tuple(map(str, range(1025)))}, "1 to 1024 classes; found 1025"),
        ({"class_table": ODD, "top_k": 0}, "must be 1 to 10; found 0"),
        ({"class_table": ODD, "top_k": 11}, "must be 1 to 10; found 11"),
    ],
)
def test_what_does_not_go_together_is_refused(
    make_world: Callable[..., World], given: dict[str, object], words: str
) -> None:
    world = worlds(make_world, ODD)
    with pytest.raises(CacheError, match=words):
        import_cache(world.source, world.root, world.out, **given)
    assert not world.out.exists()


def test_a_cache_of_other_classes_is_not_continued_as_this_one(make_world: Callable[..., World]) -> None:
    world = worlds(make_world, ODD)
    import_cache(world.source, world.root, world.out, ["cph"], class_table=ODD)
    with pytest.raises(CacheError, match="10 classes"):
        import_cache(world.source, world.root, world.out, ["amman"], class_table=ODD[::-1])
    with pytest.raises(CacheError, match="10 classes"):
        import_cache(world.source, world.root, world.out, ["amman"], class_table=ODD, top_k=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 3}, "need version 4; found 3"),
        ({"classes": ["a", "a"]}, "name each class once"),
        ({"classes": []}, "1 to 1024 classes"),
        ({"classes": list(reversed(ODD))}, "digest"),
        ({"top_k": 11}, "`top_k` must be 10 at most"),
        ({"top_k": None}, "`top_k` must be said"),
        ({"storage": "dense"}, "`top_k` must be said"),
        ({"top_k": 3}, "other columns|belongs to another cache|as written"),
    ],
)
def test_a_manifest_that_does_not_agree_is_refused(
    make_world: Callable[..., World], change: dict[str, object], words: str
) -> None:
    world = worlds(make_world, ODD)
    import_cache(world.source, world.root, world.out, ["cph"], class_table=ODD, top_k=2)
    path = world.out / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CacheError, match=words):
        open_cache(world.out).keys("cph", "query")


def test_unknown_classes_name_the_table(make_world: Callable[..., World]) -> None:
    world = worlds(make_world, TABLES["ade20k"])
    cache: Cache = import_cache(world.source, world.root, world.out, ["cph"], class_table="ade20k")
    key, reduce = cache.keys("cph", "query")[0], "sum"
    how: MaskReduce = reduce
    with pytest.raises(CacheError, match=r"one of the 150 classes of ade20k.*building"):
        cache.mask("cph", "query", key, ["buildin"], how)


OWN = """import torch


class Net:
    def __init__(self, classes: int = 3) -> None:
        self.classes = classes

    def __call__(self, image_B3HW):
        return torch.full((len(image_B3HW), self.classes, 4, 5), 1 / self.classes)
"""


def test_a_cache_is_made_by_a_network_of_ones_own_with_other_classes(small_tree: Path, tmp_path: Path) -> None:
    """The order of a sweep or of `cache build`; its digest is as before where nothing new is asked for."""
    file = tmp_path / "net.py"
    file.write_text(OWN)
    spec = SegmenterSpec.model_validate(written_segmenter(str(file) + ":Net", tmp_path))
    usual = CacheOrder(root=str(small_tree), cities=("bob",), out=str(tmp_path / "cache"), segmenter=spec)
    assert usual.digest == usual.model_copy(update={"class_table": "cityscapes", "top_k": None}).digest
    order = CacheOrder.model_validate({**usual.model_dump(), "class_table": ODD[:3], "top_k": 2})
    assert order.digest != usual.digest
    assert CacheOrder.model_validate_json(order.model_dump_json()) == order
    source, plan = open_order(order)
    cache = build(source, plan, Path(order.out), source.description)
    assert (cache.classes, cache.form.top_k, cache.size) == (ODD[:3], 2, (4, 5))
    dropped = cache.dropped()
    assert dropped is not None and dropped.by_class.tolist()[:2] == [0, 0] and dropped.share == pytest.approx(1 / 3)
    wrong = CacheOrder.model_validate({**usual.model_dump(), "class_table": ODD[:4], "out": str(tmp_path / "wrong")})
    with pytest.raises(OwnCodeError, match=r"with \(1, 4, h, w\) probabilities; found '\(1, 3, 4, 5\)'"):
        open_order(wrong)
