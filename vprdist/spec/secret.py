"""What looks like a secret: it belongs into the environment, never into a sweep file, which is copied and shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

KEY = re.compile(r"key|token|passw|secret|credential|auth(?!or)", re.IGNORECASE)
"""Names, of parameters and of variables of the environment, whose values are secrets."""
IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)|(?<=token=)[^&\s'\"]+")
"""The credentials of a URL: `https://USER:PASSWORD@host`, `https://host?write_token=TOKEN`."""
KNOWN = re.compile(r"\b(?:[0-9a-f]{40}|hf_\w{20,}|wandb_v\d_\w{20,}|local-[0-9a-f]{40}|dapi[0-9a-f]{32}|sk-[\w-]{20,})")
"""Keys as Weights & Biases, Hugging Face, Databricks and others make them."""
SHORTEST = 6
"""Characters of a value of the environment that is hidden: `1` or `true` are no secrets."""


def secrets_in(value: Any, above: str = "") -> Iterator[str]:
    """The dotted keys of a mapping, or the places of a list, that hold what looks like a secret."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            name = f"{above}.{key}" if above else str(key)
            if KEY.search(str(key)) and each not in (None, ""):
                yield name
            else:
                yield from secrets_in(each, name)
    elif isinstance(value, (list, tuple)):
        for place, each in enumerate(value):
            yield from secrets_in(each, f"{above}.{place}")
    elif isinstance(value, str) and (IN_URL.search(value) or KNOWN.search(value)):
        yield above


def hidden(text: str, environment: Mapping[str, str]) -> str:
    """The text without the secrets of the environment, and without credentials in URLs."""
    for name, value in environment.items():
        if KEY.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, "***")
    return KNOWN.sub("***", IN_URL.sub("***", text))
