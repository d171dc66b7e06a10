"""Files of tensors: written whole, read without running what is in them, compared by name, shape and type."""

from __future__ import annotations

import codecs
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from vprdist.errors import WeightsError, first_line
from vprdist.files import publish


def load_tensors(path: Path, fault: str, remedy: str) -> Any:
    """What torch.save wrote: tensors, plain values and numpy numbers, on the CPU. Anything else is refused.

    Raises:
        WeightsError: missing, cut, or more than that; it says `fault` and `remedy`.
    """
    try:
        with _numpy_scalars():
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(path, "no such file", None, "Check the path.") from None
    except pickle.UnpicklingError as error:  # its words advise to run what is in the file
        kind = re.search(r"GLOBAL (\S+)", str(error))
        found = f"{kind[1]} beside tensors" if kind else "what torch.save does not write"
        raise WeightsError(path, fault, found, remedy) from None
    except Exception as error:  # torch raises many kinds here, and every one means the same
        raise WeightsError(path, fault, first_line(error), remedy) from None


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


def first_difference(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """The first tensor that is absent, of another shape or type, or too many, in words; None: there is none."""
    for key, value in wanted.items():
        if key not in state:
            return f"no {key}"
        if state[key].shape != value.shape or state[key].dtype != value.dtype:
            return f"{key} is {state[key].dtype} {tuple(state[key].shape)}, not {tuple(value.shape)}"
    more = next((key for key in state if key not in wanted), None)
    return None if more is None else f"an unknown {more}"


@contextmanager
def _numpy_scalars() -> Iterator[None]:
    """Lets `weights_only` pass numpy numbers, which published checkpoints carry as scores.

    Beside numbers that allows nothing; old numpy wrote another module's name into the file.
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    allowed: list[Any] = [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, codecs.encode]
    allowed += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals(allowed):
        yield
