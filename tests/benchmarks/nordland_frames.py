"""Nordland by positions (layout msls) and by frames (layout frames): the same pictures, the same descriptors.

    python tests/benchmarks/nordland_frames.py ../shared/data/nordtiny/nordtiny.tgz

The archive holds every tenth frame of summer (database) and winter (query), 3,387 each, as an MSLS tree whose frames
stand 20 m apart; where the railway had a tunnel or stood still, frames were left out. Descriptors are the pixels, each
patch of 8 x 8 with mean 0 and variance 1 (SeqSLAM, Milford and Wyeth 2012), at unit length. `vprdist evaluate` measures
them by 25 m, which is one frame, and by tolerances.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from told import tell

TOLERANCES = (0, 1, 2, 5, 10)
CITY = "nordtiny"
PATCH = 8
METRICS = ("recall@1", "recall@5", "recall@10", "recall@20", "map@5")
SIDES = (("database", "summer"), ("query", "winter"))


def unpack(archive: Path, folder: Path, most: int | None = None) -> tuple[Path, Path]:
    """The MSLS tree, and its pictures as two traversals (links), of which the first some may be taken."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    tree, root = folder / "nordland", folder / CITY
    for side, name in SIDES:
        (root / name).mkdir(parents=True)
        for path in sorted((tree / "train_val" / CITY / side / "images").iterdir())[:most]:
            os.link(path, root / name / path.name)
    return tree, root


def write_descriptors(root: Path, out: Path) -> None:
    keys, rows = [], []
    for path in sorted(path for _, name in SIDES for path in (root / name).iterdir()):
        with Image.open(path) as picture:
            grey_HW = np.asarray(picture.convert("L"), np.float32)
        height, width = (length // PATCH for length in grey_HW.shape)
        patches = grey_HW[: height * PATCH, : width * PATCH].reshape(height, PATCH, width, PATCH)
        patches = patches - patches.mean(axis=(1, 3), keepdims=True)
        values = (patches / np.maximum(patches.std(axis=(1, 3), keepdims=True), 1.0)).ravel()
        keys.append(path.stem)
        rows.append(values / max(float(np.linalg.norm(values)), 1e-6))
    np.savez(out, keys=np.array(keys), descriptors=np.stack(rows))


def measured(descriptors: Path, root: Path, layout: str, out: Path) -> dict[str, float]:
    """What `vprdist evaluate` says of them."""
    command = [
        sys.executable, "-m", "vprdist", "evaluate", descriptors, "--data", root, "--layout", layout, "--cities", CITY,
        "--out", out,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    found: dict[str, float] = json.loads(next(out.glob("*/evaluation.json")).read_text())["metrics"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--most", type=int, help="take the first frames alone")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tree, root = unpack(args.archive, Path(name), args.most)
        descriptors = Path(name) / "pixels.npz"
        write_descriptors(root, descriptors)
        runs = {"msls, 25 m": (tree, "msls")} if args.most is None else {}
        runs |= {
            f"frames, {each}": (root, f"{{name: frames, database: summer, tolerance: {each}}}") for each in TOLERANCES
        }
        print(f"{'positives':<14}" + "".join(f"{metric:>11}" for metric in METRICS))
        for word, (folder, layout) in runs.items():
            found = measured(descriptors, folder, layout, Path(name) / word.replace(" ", "-"))
            tell(f"Nordland by pixels, {word}", found[METRICS[0]], METRICS[0])
            print(f"{word:<14}" + "".join(f"{found[metric]:>11.4f}" for metric in METRICS))


if __name__ == "__main__":
    main()
