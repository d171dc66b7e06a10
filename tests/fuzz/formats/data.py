"""What strangers hand over: trees of cities, pictures, label files, activations, caches, predictions, descriptors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from tests.fuzz.format import Format
from tests.worlds import write_city
from vprdist.data.images import load_image, upright_size
from vprdist.data.labels import read_labels
from vprdist.data.layouts.less import read_names
from vprdist.data.layouts.msls import city_digest, read_city
from vprdist.data.official import official_blocks, official_digest
from vprdist.data.pictures import picture_fault
from vprdist.data.tasks import city_task
from vprdist.evaluation.descriptor_files import read_descriptors
from vprdist.evaluation.predictions import read_predictions, write_predictions
from vprdist.files import digest_file
from vprdist.semantics.cache import Cache, open_cache
from vprdist.semantics.cache.blocks import columns_of, find_blocks
from vprdist.semantics.cache.format import read_manifest
from vprdist.semantics.cache.shard import frame_digest, map_file
from vprdist.semantics.importing import import_cache
from vprdist.semantics.sources.npz import NpzSource
from vprdist.semantics.sources.png import FILES, PngSource
from vprdist.spec.data import DataSpec
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.vocabulary import CLASSES

KEYS = {"query": [f"ada_q{i:03d}" for i in range(4)], "database": [f"ada_d{i:03d}" for i in range(6)]}
SIDE = "data/train_val/ada/query"
SIZE = (5, 7)
KINDS = ("jpg", "png", "webp", "gif", "tif", "bmp")
PNG_KEYS = KEYS["query"][:1]
CODECS = ("none", "lz4", "zstd")
LARGEST = {"top-none": 3, "top-lz4": 3}
"""Caches of the largest activations alone."""


def make_city(folder: Path) -> None:
    write_city(folder / "data", "ada", num_query=4, num_database=6, seed=1, size=(24, 16))


def make_labels(folder: Path) -> None:
    make_city(folder)
    with h5py.File(folder / "data" / "train_val" / "ada_gt.h5", "w") as file:
        file.create_dataset("fov", data=np.eye(4, 6), chunks=(2, 3), compression="gzip")
        file.create_dataset("sim", data=np.eye(4, 6) > 0)


def make_kept(folder: Path) -> None:
    make_city(folder)
    read_kept(folder)
    behind_a_link(next((folder / "data" / "vprdist_labels").glob("*.npz")), folder / "kept.npz")


def make_pictures(folder: Path) -> None:
    for kind in KINDS:
        Image.effect_noise((24, 16), 90).save(folder / f"picture.{kind}")


def activations(side: str) -> np.ndarray:
    return np.random.default_rng(len(side)).integers(0, 256, (len(KEYS[side]), len(CLASSES), *SIZE), np.uint8)


def make_npz(folder: Path) -> None:
    for side, keys in KEYS.items():
        np.savez_compressed(folder / f"ada_{side}.npz", keys=np.array(keys), activations=activations(side))


def make_pngs(folder: Path) -> None:
    for key, image in zip(PNG_KEYS, activations("query"), strict=False):
        (folder / "ada" / "query" / key).mkdir(parents=True)
        for name, plane in zip(FILES, image, strict=True):
            Image.fromarray(plane).save(folder / "ada" / "query" / key / name)


def make_caches(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        make_city(Path(elsewhere))
        make_npz(Path(elsewhere))
        for name in (*CODECS, *LARGEST):
            out, codec = folder / name, name.removeprefix("top-")
            cache = import_cache(
                Path(elsewhere), Path(elsewhere) / "data", out, ["ada"], compression=codec, top_k=LARGEST.get(name)
            )
            entry = next(each for each in cache.manifest.shards if each.side == "query")
            behind_a_link(out / entry.file, folder / f"{name}.arrow")


def make_evaluation(folder: Path) -> None:
    make_city(folder)
    for side, keys in KEYS.items():
        descriptors = np.random.default_rng(len(side)).normal(size=(len(keys), 8)).astype(np.float32)
        np.savez(folder / f"{side}.npz", keys=np.array(keys), descriptors=descriptors)
        np.save(folder / f"{side}.npy", descriptors)
        (folder / f"{side}.txt").write_text("\n".join(keys))
    write_predictions(folder / "predictions.txt", [(key, KEYS["database"][:5]) for key in KEYS["query"]])
    (folder / "leave_out.txt").write_text("ada_q000\n# a remark\nada/query/ada_q001\n")


def behind_a_link(path: Path, name: Path) -> None:
    """Give a file whose name holds a digest another one, that stays."""
    path.rename(name)
    path.symlink_to(os.path.relpath(name, path.parent))


def read_csvs(folder: Path) -> object:
    city = read_city(folder / "data", "ada")
    city_digest(folder / "data", "ada")
    columns = [[side.keys, side.headings, side.positions, side.frame_number, side.pano] for side in city.sides]
    return [[column.tolist() for column in side] for side in columns]


def read_picture(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        picture = folder / name
        upright_size(picture)
        picture_fault(picture, decode=True)
        return load_image(picture, 8, 12).tobytes()

    return read


def read_h5(folder: Path) -> object:
    city = read_city(folder / "data", "ada")
    official_digest.cache_clear()
    assert city.label_file is not None
    return official_digest(city.label_file), [block.toarray().tolist() for block in official_blocks(city)]


def read_kept(folder: Path) -> object:
    """Kept labels are made again where they cannot be used."""
    data = folder / "data"
    city, spec = read_city(data, "ada"), DataSpec(root=str(data), labels="computed")
    return read_labels(city, spec, folder / "runs", lambda text: None).toarray().tolist()


def read_npz_source(folder: Path) -> object:
    return _source(NpzSource(folder), KEYS["query"])


def read_png_source(folder: Path) -> object:
    return _source(PngSource(folder), PNG_KEYS)


def _source(source: NpzSource | PngSource, keys: Sequence[str]) -> object:
    told = source.size("ada", "query", keys), source.grid("ada", "query"), source.fingerprint("ada", "query", keys)
    return told, [(key, image.tobytes()) for key, image in source.read("ada", "query", keys)]


def read_cache(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        return _activations(open_cache(folder / name))

    return read


def _activations(cache: Cache) -> object:
    return [(key, cache.activations("ada", "query", key).tobytes()) for key in cache.keys("ada", "query")]


def read_agreeing(name: str) -> Callable[[Path], object]:
    """A stranger made both: the manifest has the digests of the shard as it lies there."""

    def read(folder: Path) -> object:
        made = read_manifest(folder / name)
        place = next(i for i, entry in enumerate(made.shards) if entry.side == "query")
        entry = made.shards[place]
        shard = folder / name / entry.file
        if shard.is_file() and 0 < shard.stat().st_size < 10**7:
            pages = map_file(shard)
            try:
                spans = tuple(block.pixels for block in find_blocks(pages, columns_of(made.form)))
            except ValueError:
                spans = entry.pixels
            facts = {"bytes": pages.size, "frame": frame_digest(pages, spans), "sha256": digest_file(shard)}
            told = entry.model_copy(update={**facts, "pixels": spans if entry.pixels else ()})
            shards = (*made.shards[:place], told, *made.shards[place + 1 :])
            made = made.model_copy(update={"shards": shards})
        return _activations(Cache(folder / name, made))

    return read


def read_prediction_file(folder: Path) -> object:
    task = city_task(read_city(folder / "data", "ada"), EvaluateSpec(), 25.0)
    ranking, notes = read_predictions(folder / "predictions.txt", [task], "city")
    return [[row.tolist() for row in rows] for rows in ranking.retrieved], notes


def read_descriptor_files(ending: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        city = read_city(folder / "data", "ada")
        wanted = [(side, np.arange(len(side))) for side in city.sides]
        found = read_descriptors([folder / f"{side}.{ending}" for side in KEYS], wanted)
        return found.values_ND.tolist()

    return read


def read_leave_out(folder: Path) -> object:
    return read_names(str(folder / "leave_out.txt"))


CSVS = ("raw", "postprocessed", "seq_info", "subtask_index")
FORMATS = [
    *(Format(f"data/{name}.csv", make_city, f"{SIDE}/{name}.csv", read_csvs) for name in CSVS),
    *(Format(f"data/{kind}", make_pictures, f"picture.{kind}", read_picture(f"picture.{kind}")) for kind in KINDS),
    Format("data/labels.h5", make_labels, "data/train_val/ada_gt.h5", read_h5, share=0.05),
    Format("data/kept-labels.npz", make_kept, "kept.npz", read_kept, share=0.5),
    Format("data/leave_out.txt", make_evaluation, "leave_out.txt", read_leave_out, share=0.3),
    Format("semantics/source.npz", make_npz, "ada_query.npz", read_npz_source),
    Format("semantics/source.png", make_pngs, f"ada/query/{PNG_KEYS[0]}/{FILES[0]}", read_png_source, share=0.5),
    Format("semantics/manifest.json", make_caches, "lz4/manifest.json", read_cache("lz4")),
    *(Format(f"semantics/{name}.arrow", make_caches, f"{name}.arrow", read_cache(name), guarded=True)
      for name in CODECS),
    *(Format(f"semantics/{name}.arrow-agreed", make_caches, f"{name}.arrow", read_agreeing(name)) for name in CODECS),
    Format("semantics/top-manifest.json", make_caches, "top-lz4/manifest.json", read_cache("top-lz4"), share=0.5),
    *(Format(f"semantics/{name}.arrow", make_caches, f"{name}.arrow", read_cache(name), share=0.5, guarded=True)
      for name in LARGEST),
    *(Format(f"semantics/{name}.arrow-agreed", make_caches, f"{name}.arrow", read_agreeing(name), share=0.5)
      for name in LARGEST),
    Format("evaluation/predictions.txt", make_evaluation, "predictions.txt", read_prediction_file),
    Format("evaluation/descriptors.npz", make_evaluation, "query.npz", read_descriptor_files("npz")),
    Format("evaluation/descriptors.npy", make_evaluation, "query.npy", read_descriptor_files("npy")),
    Format("evaluation/keys.txt", make_evaluation, "query.txt", read_descriptor_files("npy"), share=0.3),
]  # fmt: skip
