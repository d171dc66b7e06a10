"""Which file the initial weights come from, and its digest: `python -m vprdist.network.weights resnet50`.

It runs as a process of its own so that the driver of a sweep, which may live on a login node, never loads torch.
"""

from __future__ import annotations

import json
import sys

from vprdist.errors import WeightsError
from vprdist.files import digest_file
from vprdist.network.backbones import FAMILIES


def main() -> None:
    """Print one JSON line: {"path", "digest"}, {"error"} without weights, {"refused"} without the backbone itself."""
    name = sys.argv[1]
    try:
        FAMILIES[name].build(name)
    except WeightsError as error:
        print(json.dumps({"refused": f"{error.rule}. {error.remedy}"}))
        return
    try:
        path = FAMILIES[name].find_weights(name)
        answer = {"path": str(path), "digest": digest_file(path, 16)}
    except WeightsError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
