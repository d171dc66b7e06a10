"""A network of torch.hub: a folder with `hubconf.py`, or a repository that lies in torch's local store already."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from vprdist.errors import UserError, WeightsError, first_line
from vprdist.network.backbones.one_unit import OneUnit, Unit
from vprdist.spec.elsewhere import CONF, code_files, hub_places


class HubEntry(OneUnit):
    """What a function of `hubconf.py` answers with. Nothing is downloaded; what is random in it is always the same.

    Raises:
        WeightsError: no such folder or function, something that is not in the local store, or no network.
    """

    def __init__(
        self, repo: str, entry: str, arguments: dict[str, Any], answers: str, mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.folder = hub_folder(repo)
        self.where, self.mean, self.std = f"{self.folder / CONF}:{entry}", mean, std
        net = self._load(entry, arguments, f"import torch; torch.hub.load({repo!r}, {entry!r})")
        if not isinstance(net, nn.Module):
            found = type(net).__name__
            raise WeightsError(self.where, "the entry must answer with a torch module", found, "Name another entry.")
        self.network = Unit(net.eval(), answers, self.where)

    def _load(self, entry: str, arguments: dict[str, Any], once: str) -> Any:
        _forget_others(self.folder)
        try:
            with torch.random.fork_rng(devices=[]), _offline():
                torch.manual_seed(0)
                return torch.hub.load(str(self.folder), entry, source="local", **arguments)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # a stranger's code
            if isinstance(error, (urllib.error.URLError, EOFError)):
                fault, found = "what the entry downloads must lie in torch's local store", first_line(error)
                raise WeightsError(self.where, fault, found, f'Fetch it once: python -c "{once}".') from None
            remedy = f"Try it alone: torch.hub.load({str(self.folder)!r}, {entry!r}, source='local')."
            said = f"{type(error).__name__}: {first_line(error)}"
            raise WeightsError(self.where, "the network could not be made", said[:300], remedy) from None

    def find_weights(self) -> Path:
        return self.folder / CONF

    def digest_weights(self, path: Path) -> str:
        """The digest covers every Python file of the folder, and all that the network holds."""
        digest = hashlib.sha256()
        for file in code_files(self.folder):
            digest.update(f"{file.relative_to(self.folder)}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        for key, value in sorted(self.network.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(_bytes(value))
        return digest.hexdigest()[:16]


def hub_folder(repo: str) -> Path:
    """The folder that a sweep file's `repo` means.

    Raises:
        WeightsError: it is not there.
    """
    places = hub_places(repo)
    if found := next((place for place in places if (place / CONF).is_file()), None):
        return found
    if places == [Path(repo)]:
        fault = f"the folder has no {CONF}" if places[0].is_dir() else "no such folder"
        remedy = "Name a folder with hubconf.py, or OWNER/REPO[:REF]. A path counts from the folder of the sweep file."
        raise WeightsError(repo, fault, None, remedy)
    fault = f"the repository must lie in torch's local store, as {' or '.join(place.name for place in places)}"
    remedy = f'Fetch it once: python -c "import torch; torch.hub.list({repo!r})"; or name its folder on this disk.'
    raise WeightsError(places[0].parent, fault, "no such folder", remedy)


_LOADED: dict[Path, set[str]] = {}
"""By folder, the modules that came with its networks."""


def _forget_others(folder: Path) -> None:
    """Two repositories may each have a module `models`: those of others are forgotten before one is loaded."""
    for module, found in list(sys.modules.items()):
        file = getattr(found, "__file__", None)
        if file is not None:
            for known, names in _LOADED.items():
                if Path(file).is_relative_to(known):
                    names.add(module)
    for known, names in _LOADED.items():
        if known != folder:
            for name in names:
                sys.modules.pop(name, None)
            names.clear()
    _LOADED.setdefault(folder, set())


def _refuse(*arguments: Any, **more: Any) -> Any:
    raise urllib.error.URLError(f"{arguments[0] if arguments else 'a file'} would be downloaded")


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Whatever torch.hub would download is refused; what lies in its store is found."""
    with mock.patch("torch.hub.download_url_to_file", _refuse), mock.patch("torch.hub.urlopen", _refuse):
        yield


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
