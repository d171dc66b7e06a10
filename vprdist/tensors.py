"""Files of tensors: written whole, read without running what is in them, compared by name, shape, type and layout."""

from __future__ import annotations

import codecs
import pickle
import re
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
import torch
from torch import Tensor

from vprdist.errors import WeightsError, first_line
from vprdist.files import NotAFile, mistaken, open_file, publish

WRAPPERS = ("model_state", "model_state_dict", "state_dict", "model", "network")
"""Keys under which public training code keeps a network's state."""
PREFIXES = ("module.", "_orig_mod.")
"""What nn.DataParallel and torch.compile write before every name."""
SAVED_ALONE = "Ask for its state dict alone, as its author writes it: torch.save(network.state_dict(), FILE)."
KINDS = 20
"""A checkpoint with more kinds of objects beside its tensors is a program that was saved."""
SHOWN = 3
"""Differences of one sort that a message names."""


class Foreign:
    """Stands for an object of a checkpoint that is neither a tensor nor a plain value: nothing of it is run."""

    def __init__(self, *args: object, **keys: object) -> None:
        """Whatever it was made of is left out."""

    def __setstate__(self, state: object) -> None:
        """Whatever it held is left out."""


class _Filled(Foreign):
    """Stands for a kind of dict: what is put into it is plain, and is read."""

    def __new__(cls, *args: object, **keys: object) -> Any:
        return OrderedDict()


class _Listed(Foreign):
    """Stands for a kind of list."""

    def __new__(cls, *args: object, **keys: object) -> Any:
        return []


REFUSALS = (
    (r"GLOBAL (\S+) was not an allowed", Foreign),
    (r"Can only SETITEMS? for .* but got <class '([^']+)'>", _Filled),
    (r"Can only append to lists, but got <class '([^']+)'>", _Listed),
    (r"Can only build .* but got <class '(numpy\.dtype)s\.", Foreign),
)
"""How torch refuses a kind of object, and what may stand for it. An array's numbers are of more kinds than scores."""


def load_tensors(path: Path, fault: str, remedy: str) -> Any:
    """What torch.save wrote: tensors, plain values and numpy numbers, on the CPU; a `Foreign` in the place of all else.

    Raises:
        WeightsError: missing, cut, or no such file; it says `fault` and `remedy`.
    """
    try:
        with open_file(path) as stream:
            if (other := _other_file(stream)) is not None:
                raise WeightsError(path, fault, *other)
            return _loaded(stream)
    except FileNotFoundError:
        raise WeightsError(path, "no such file", None, "Check the path.") from None
    except NotAFile as error:
        raise WeightsError(path, fault, error.strerror, "Name a file.") from None
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:  # its words advise to run what is in the file
        kind, _ = _kind_of(error)
        found = f"{kind} beside tensors" if kind else "what torch.save does not write"
        raise WeightsError(path, fault, found, SAVED_ALONE if kind else remedy) from None
    except Exception as error:  # torch raises many kinds here, and every one means the same
        raise WeightsError(path, fault, first_line(error), remedy) from None


def _loaded(stream: BinaryIO) -> Any:
    """Load, each kind of object that is refused made a `Foreign` the next time."""
    foreign: dict[str, type[Foreign]] = {}
    while True:
        stream.seek(0)
        try:
            with _known(foreign):
                return torch.load(stream, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            kind, form = _kind_of(error)
            tried = foreign.get(kind) if kind else None
            if kind is None or (tried and issubclass(tried, form)) or (tried is None and len(foreign) == KINDS):
                raise
            module, _, name = kind.rpartition(".")
            foreign[kind] = type(name, (form,), {"__module__": module})  # torch names the class if it refuses it again


def _kind_of(error: pickle.UnpicklingError) -> tuple[str | None, type[Foreign]]:
    """The kind of object that is not read, as its file calls it, and what may stand for it."""
    for rule, form in REFUSALS:
        if (found := re.search(rule, str(error))) is not None:
            return (found[1] if "." in found[1] else f"builtins.{found[1]}"), form
    return None, Foreign


def _other_file(stream: BinaryIO) -> tuple[str, str] | None:
    """What lies in the place of a file of torch.save, and the remedy.

    Archives are written uncompressed: one that would become larger than itself is none.
    """
    head = stream.read(1024)
    if not head:
        return "an empty file", "It was cut, or nothing was ever written: fetch or write it again."
    if (found := mistaken(head)) is not None:
        return found
    if head[8:10] in (b'{"', b"{ ") and int.from_bytes(head[:8], "little") < 2**27:
        how = "torch.save(safetensors.torch.load_file(FILE), NEW)"
        return "a safetensors file", f"Write it in torch's form: {how}."
    stream.seek(0)
    if not head.startswith(b"PK"):
        is_tar = head[257:262] == b"ustar" and tarfile.is_tarfile(stream)
        return ("the .tar form of old versions of torch", SAVED_ALONE) if is_tar else None
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
    if any(entry.filename.endswith(("/constants.pkl", ".py")) for entry in entries):
        return "TorchScript, which is a program", SAVED_ALONE
    if sum(entry.file_size for entry in entries) > stream.seek(0, 2):
        return "an archive that becomes larger when it is read", "Name a file as torch.save writes it, uncompressed."
    return None


def save_tensors(path: Path, value: Any) -> None:
    """Publish a file that `load_tensors` reads.

    Raises:
        OSError: the disk does not take it; what was there before stays.
    """
    try:
        with publish(path) as stream:
            torch.save(value, stream)
    except (OSError, RuntimeError) as error:
        # Where a write fails torch ends its archive all the same, and complains of that alone: "unexpected pos".
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from None


def is_state(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether it is a state dict: tensors by name."""
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def find_state(loaded: object) -> dict[str, Tensor] | None:
    """The state dict in what public training code saves: alone or under one of `WRAPPERS`, without `PREFIXES`."""
    inner = [loaded[name] for name in WRAPPERS if name in loaded] if isinstance(loaded, Mapping) else []
    state = next((each for each in (*inner, loaded) if is_state(each) and each), None)
    while state and (prefix := next((each for each in PREFIXES if all(key.startswith(each) for key in state)), None)):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return None if state is None else dict(state)


def no_state(path: Path, fault: str, loaded: object, remedy: str) -> WeightsError:
    """The refusal of a file without a state dict: it shows the first keys, or the kind of object."""
    inner = [loaded[name] for name in WRAPPERS if name in loaded] if isinstance(loaded, Mapping) else []
    if whole := next((each for each in (*inner, loaded) if isinstance(each, Foreign)), None):
        return WeightsError(path, fault, f"a whole {type(whole).__name__}, which is a program", SAVED_ALONE)
    found = sorted(map(str, loaded))[:5] if isinstance(loaded, Mapping) else type(loaded).__name__
    return WeightsError(path, fault, found, remedy)


def difference(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """The tensors that are absent, of another shape, type or layout, or too many, the first of each; None: there are
    none."""
    absent = [f"no {key}" for key in wanted if key not in state]
    other = [said for key in wanted if key in state and (said := _unlike(key, state[key], wanted[key]))]
    more = [f"an unknown {key}" for key in state if key not in wanted]
    return ", ".join([*_first(absent), *_first(other), *_first(more)]) or None


def _first(said: Sequence[str]) -> list[str]:
    return [*said[:SHOWN], *([f"and {len(said) - SHOWN} more such"] if len(said) > SHOWN else [])]


def _unlike(key: str, found: Tensor, wanted: Tensor) -> str | None:
    if found.is_nested or found.layout != wanted.layout or found.is_quantized != wanted.is_quantized:
        return f"{key} is nested, sparse or quantised"
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{key} is {found.dtype} {tuple(found.shape)}, not {tuple(wanted.shape)}"
    return f"{key} has no values" if found.device.type == "meta" else None


def not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The first tensor with a value that is not finite, and how many it has. Their shapes were checked before."""
    for key, value in state.items():
        if not value.is_floating_point() or value.sum().isfinite():  # thirty times as fast as a look at each value
            continue
        if bad := int((~value.isfinite()).sum()):  # none: it is the sum alone that is too large
            return f"{bad} of the {value.numel()} values of {key}"
    return None


@contextmanager
def _known(foreign: Mapping[str, type[Foreign]]) -> Iterator[None]:
    """Lets `weights_only` pass numpy numbers, which published checkpoints carry as scores, and stand-ins for objects.

    Beside numbers that allows nothing; old numpy wrote another module's name into the file.
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    allowed: list[Any] = [codecs.encode]
    if "numpy.dtype" not in foreign:
        allowed += [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]
        allowed += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    allowed += [(each, name) for name, each in foreign.items()]
    with torch.serialization.safe_globals(allowed):
        yield
