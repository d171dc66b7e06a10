"""Public implementations that ours are run beside, where a clone of them is at hand."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
import torch
from torch import nn


def checkout(variable: str, mirror: str, package: str | None, factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `package` of a public repository, or all of it; skips where there is no clone.

    Args:
        variable: the environment variable that names a clone.
        mirror: `owner+name`, the clone's folder beside the project where the variable is not set.
    """
    named = os.environ.get(variable)
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / ".mirror" / mirror / "repo"
    if not folder.is_dir():
        pytest.skip(f"no public code at {folder}: set {variable} to a clone of {mirror.replace('+', '/')}")
    if (folder / (package or ".git")).is_dir():
        return folder
    out = factory.mktemp("public")  # a bare repository has no files
    with (out / "package.tar").open("wb") as stream:
        parts = [package] if package else []
        command = ["git", "-c", "safe.directory=*", "-C", str(folder), "archive", "HEAD", *parts]
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        pytest.skip(f"{folder} is no clone of {mirror}: {done.stderr.decode().strip()}")
    with tarfile.open(out / "package.tar") as archive:
        archive.extractall(out, filter="data")
    return out


def shaken(network: nn.Module, seed: int) -> nn.Module:
    """Seeded statistics and offsets in every BatchNorm: fresh ones are 0 and 1, and would hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_mean, module.bias):
                value.data.copy_(torch.randn(value.shape, generator=generator) / 10)
            for value in (module.running_var, module.weight):
                value.data.copy_(torch.rand(value.shape, generator=generator) / 2 + 0.5)
    return network.eval()
