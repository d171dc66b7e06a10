"""A training of your own, in plain PyTorch: a small network learns to recognise places from pairs of pictures.

    python -m vprdist.sweep sweeps/your_program.yaml       as trials of a sweep
    python sweeps/your_program.py FOLDER                   by itself, on a folder that lies as MSLS does

All that it knows of vprdist is `client`: what to try, where a checkpoint belongs, when to stop, and the result.
"""

import csv
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from vprdist import client


def read_side(city: Path, side: str) -> tuple[list[str], np.ndarray, torch.Tensor]:
    """Keys (N), positions in metres (N, 2) and small pictures (N, 3, 48, 64) in [0, 1]."""
    rows = list(csv.DictReader((city / side / "postprocessed.csv").open()))
    keys = [row["key"] for row in rows]
    files = (Image.open(city / side / "images" / f"{key}.jpg").resize((64, 48)) for key in keys)
    pictures = np.stack([np.asarray(file, np.float32) / 255 for file in files])
    places = np.array([(float(row["easting"]), float(row["northing"])) for row in rows])
    return keys, places, torch.from_numpy(pictures).permute(0, 3, 1, 2)


class Network(nn.Module):
    """Pictures (N, 3, H, W) -> descriptors (N, 4 * width) of length 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width)
        layers = [(nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(4, b), nn.ReLU()) for a, b in pairwise(sizes)]
        self.body = nn.Sequential(*(each for layer in layers for each in layer))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.body(pictures - 0.5).clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))


def main() -> None:
    params = client.params(width=16, lr=0.003, steps=200, batch=32)
    torch.manual_seed(client.seed())
    data = client.trial().get("data") or {"root": sys.argv[1]}
    cities = Path(data["root"]) / "train_val"
    every = sorted(path.name for path in cities.iterdir())
    train, validate = data.get("train") or every[:-1], data.get("validate") or every[-1:]

    pairs = []  # a query, and a database picture of the same place: within 10 m
    for city in train:
        (_, here, queries), (_, there, database) = (read_side(cities / city, side) for side in ("query", "database"))
        apart = np.linalg.norm(here[:, None] - there[None], axis=2)
        pairs += [(queries[q], database[apart[q].argmin()]) for q in np.flatnonzero(apart.min(axis=1) < 10)]

    network = Network(params["width"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=params["lr"])
    saved, first = client.checkpoint_folder() / "last.pt", 0
    if saved.exists():
        state = torch.load(saved)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        first = state["step"]

    for step in range(first + 1, params["steps"] + 1):
        drawn = [pairs[k] for k in torch.randperm(len(pairs))[: params["batch"]]]
        near, far = (network(torch.stack(side)) for side in zip(*drawn, strict=True))
        loss = F.cross_entropy(near @ far.T / 0.05, torch.arange(len(near)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            client.log(step, loss=loss.item())
        if step % 50 == 0 or client.should_stop():
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save({**state, "random": torch.get_rng_state()}, saved.with_suffix(".partial"))
            saved.with_suffix(".partial").replace(saved)  # at once: a job may end at any moment
        if client.should_stop():
            return

    files = []
    for city in validate:
        for side in ("query", "database"):
            keys, _, pictures = read_side(cities / city, side)
            files.append(client.folder() / f"{city}_{side}.npz")
            with torch.no_grad():
                np.savez(files[-1], keys=keys, descriptors=network(pictures).numpy())
    client.finish(descriptors=files, loss=loss.item())


if __name__ == "__main__":
    main()
