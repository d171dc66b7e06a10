"""The manifest of a folder that vprdist keeps for later (a cache, a pack): JSON with a format and a version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from vprdist.errors import UserError
from vprdist.files import read_bytes
from vprdist.spec.base import Spec

Model = TypeVar("Model", bound=Spec)


@dataclass(frozen=True, kw_only=True)
class ManifestForm:
    """Which manifest is expected, and the words of its messages.

    Attributes:
        file: its name in the folder.
        most_bytes: a longer one is none.
        format, version: of the newest that can be read.
        one, many: what the folder is called: "cache", "caches".
        making: what writes the manifest at its end: "import".
        missing, mend, newer: remedies, where there is none, where it is broken, and where it is too new.
    """

    error: type[UserError]
    file: str
    most_bytes: int
    format: str
    version: int
    one: str
    many: str
    making: str
    missing: str
    mend: str
    newer: str


def read_manifest_of(folder: Path, model: type[Model], form: ManifestForm) -> Model:
    """The manifest of a folder.

    Raises:
        UserError: no manifest, one of a newer version, or one that breaks the model's rules; of the form's own class.
    """
    path = folder / form.file
    try:
        text = read_bytes(path, form.most_bytes)
        value = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        cut = f"it is written last: the {form.making} may have been cut"
        fault = f"a {form.one} must be a folder with a {form.file} ({cut})"
        raise form.error(folder, fault, None, form.missing) from None
    except (OSError, ValueError, RecursionError) as error:
        raise form.error(path, "the manifest must be readable JSON", str(error)[:200], form.mend) from None
    if not isinstance(value, dict) or value.get("format") != form.format:
        raise form.error(path, f"the manifest's format must be {form.format!r}", None, "Point at another folder.")
    version = value.get("version")
    if isinstance(version, int) and version > form.version:
        fault = f"{form.many} must be of version {form.version} at most for this vprdist"
        raise form.error(path, fault, version, form.newer)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where, found = ".".join(str(part) for part in first["loc"]), first.get("input")
        found = found if isinstance(found, int | float | None) else str(found)[:80]
        raise form.error(f"{path}: {where}", first["msg"], found, form.mend) from None
