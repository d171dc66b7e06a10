"""Numbers and lists out of a `.npy` file that numpy pickled, without running what a pickle may call.

Public data sets keep lists of different lengths in arrays of objects, which numpy writes as pickles. A pickle may call
any function of any module as it is read. Here its calls reach nothing but records of what it wanted: arrays are put
together of these afterwards, and whatever else it asks for is refused by name.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vprdist.errors import first_line
from vprdist.files import read_bytes

Nested = Any
"""A whole number, or a list of such."""
MOST_BYTES = 2**28
MOST_NUMBERS = 2**26
"""In all of a file; a list that stands in itself, or a thousand times in another, would have more."""


def read_pickled(path: Path) -> list[Nested]:
    """The array of a `.npy` file of objects as nested lists of whole numbers.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is cut, holds other things than arrays, lists and whole numbers, or too many of these.
    """
    stream = io.BytesIO(read_bytes(path, MOST_BYTES))
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, _ = read_header[version](stream)
        held = _Reader(stream, encoding="latin1").load()
        found = _Numbers().of(held)
    except _Refused:
        raise
    except Exception as error:  # the pickle machine has a dozen kinds of errors for what is cut or made up
        raise ValueError(f"it cannot be read as an array of lists ({first_line(error)})") from None
    if not isinstance(found, list) or len(shape) == 0 or len(found) != shape[0]:
        raise ValueError("its header and its values do not fit each other")
    return found


class _Refused(ValueError):
    """What a pickle asks for and is not given."""


class _Kind:
    """What a pickle says of a dtype."""

    def __init__(self, word: Any = "", *more: Any) -> None:
        self.word, self.order = str(word), "<"

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])


class _Array:
    """What a pickle says of an array."""

    state: Any = None

    def __init__(self, *more: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _of_buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """An array as protocol 5 has it."""
    found = _Array()
    found.state = (1, shape, kind, order == "F", data)
    return found


class _Scalar:
    """What a pickle says of a single number."""

    def __init__(self, kind: Any, data: Any) -> None:
        self.kind, self.data = kind, data


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"it asks for the encoding {encoding!r}, and may not")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What `bytes()` is: pickles of the first protocols call it."""
    return b""


ASKED: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _Array, "numpy.dtype": _Kind, "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _Scalar, "numpy.core.numeric._frombuffer": _of_buffer, "_codecs.encode": _encoded,
    "builtins.bytes": _no_bytes, "__builtin__.bytes": _no_bytes,
}  # fmt: skip
"""What stands here for each thing that a pickle of numbers asks for."""


class _Reader(pickle.Unpickler):
    """The machine of pickles, which finds the records above and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (found := ASKED.get(f"{module.replace('_core', 'core')}.{name}")) is not None:
            return found
        raise _Refused(f"it asks for {module}.{name}, and may hold arrays, lists and whole numbers alone")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it asks for something outside the file, and may not")


class _Numbers:
    """Puts lists of numbers together of what a pickle held."""

    def __init__(self) -> None:
        self._left = MOST_NUMBERS
        self._known: dict[int, tuple[list[Nested], int]] = {}

    def of(self, held: Any) -> Nested:
        """A whole number, or a list."""
        self._take(1)
        if isinstance(held, bool) or type(held) is int:
            return int(held)
        if isinstance(held, (list, tuple)):
            return self._list(held)
        if isinstance(held, _Scalar):
            return self._numbers(held.kind, held.data, 1)[0]
        if isinstance(held, _Array) and isinstance(held.state, tuple) and len(held.state) == 5:
            return self._array(*held.state[1:])
        raise _Refused(f"it holds {type(held).__name__}, and may hold arrays, lists and whole numbers alone")

    def _list(self, held: list[Any] | tuple[Any, ...]) -> list[Nested]:
        """One that stands in several places is put together once, and counts as often as it stands there."""
        if id(held) in self._known:
            found, count = self._known[id(held)]
            self._take(count)
            return found
        before = self._left
        found = [self.of(each) for each in held]
        self._known[id(held)] = found, before - self._left
        return found

    def _array(self, shape: Any, kind: Any, fortran: Any, data: Any) -> Nested:
        if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
            raise _Refused("an array in it has no shape")
        count = math.prod(shape)
        if isinstance(data, list):
            if len(data) != count:
                raise _Refused(f"an array in it must have {count} values, and has {len(data)}")
            values = [self.of(each) for each in data]
        else:
            values = self._numbers(kind, data, count)
        cells = np.empty(count, object)
        cells[:] = values
        return cells.reshape(shape, order="F" if fortran else "C").tolist()

    def _numbers(self, kind: Any, data: Any, count: int) -> list[int]:
        """Whole numbers of their bytes."""
        raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote text
        raw = bytes(raw) if isinstance(raw, bytearray) else raw
        word = kind.word if isinstance(kind, _Kind) else ""
        if not isinstance(raw, bytes) or word not in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise _Refused(f"it holds values of the kind {word!r}, and may hold whole numbers alone")
        found = np.frombuffer(raw, f"{'>' if kind.order == '>' else '<'}{word}")
        if len(found) != count:
            raise _Refused(f"an array in it must have {count} values, and has {len(found)}")
        self._take(count)
        return [int(value) for value in found.tolist()]

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise _Refused(f"it holds more than {MOST_NUMBERS} numbers")
