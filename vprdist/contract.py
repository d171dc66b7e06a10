"""Libraries of which more is used than they promise to keep: which versions are known to do, and what others lack."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vprdist.errors import LaunchError, first_line


@dataclass(frozen=True)
class Contract:
    """The versions of a library with which the tests have passed, as in pyproject.toml.

    Attributes:
        library: what people call it.
        package: what pip installs, with its extras.
        lowest: the first version.
        below: the first version that is not known.
    """

    library: str
    package: str
    lowest: str
    below: str

    def is_known(self) -> bool:
        """Whether the installed version is a known one; the library is not loaded.

        Raises:
            LaunchError: it is not installed.
        """
        try:
            version = importlib.metadata.version(self._name)
        except importlib.metadata.PackageNotFoundError:
            raise self._wrong("it is not installed", None) from None
        return _numbers(self.lowest) <= _numbers(version) < _numbers(self.below)

    def check(self, lacking: Callable[[], Iterator[str]]) -> None:
        """Load the library, and look whether all is there that is used.

        Args:
            lacking: says what is not, a line each.

        Raises:
            LaunchError: it cannot be loaded, or lacks something; the first thing is named.
        """
        try:
            version = importlib.import_module(self._name).__version__
            lacks = next(lacking(), None)
        except Exception as error:  # whatever a broken installation raises
            raise self._wrong("it cannot be loaded", f"{type(error).__name__}: {first_line(error)}") from None
        if lacks is not None:
            raise self._wrong(f"version {version} is not one that this driver knows", lacks)

    @property
    def versions(self) -> str:
        """What pip installs: `ray[tune]>=2.40,<2.61`."""
        return f"{self.package}>={self.lowest},<{self.below}"

    @property
    def _name(self) -> str:
        return self.package.partition("[")[0]

    def _wrong(self, fault: str, found: object) -> LaunchError:
        remedy = f"Nothing was started. Install another: pip install '{self.versions}'."
        return LaunchError(self.library, fault, found, remedy)


def lacking(needed: Mapping[str, tuple[str, ...]], set_in_init: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """What the installed libraries lack, a line each.

    Args:
        needed: names (`module:name.of.it`), and the parameters that each must take.
        set_in_init: classes, and the attributes that their `__init__` must make.
    """
    for name, wanted in needed.items():
        if (found := find_name(name)) is None:
            yield f"no {name}"
        elif without := [each for each in wanted if each not in parameters(found)]:
            yield f"{name} takes no {', '.join(without)}"
    for name, attributes in set_in_init.items():
        if (found := find_name(name)) is not None:
            made = found.__init__.__code__.co_names
            yield from (f"{name} has no {attribute}" for attribute in attributes if attribute not in made)


def find_name(name: str) -> Any:
    """What `module:name.of.it` names; None where it is not there."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found


def parameters(found: Any) -> set[str]:
    """The names of what a function, or a class, takes; none where it is neither."""
    return set(inspect.signature(found).parameters) if callable(found) else set()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
