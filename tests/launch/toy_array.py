"""Work for job arrays: some pieces, each a file made once by whichever task comes to it first."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from vprdist.errors import DataError
from vprdist.files import append_json_line, locked, write_text
from vprdist.launch.node import node_name

FUNCTION = "toy_array:make_pieces"


def make_pieces(folder: str, index: int, count: int) -> None:
    """`behaviour.json` says: pieces, dt (seconds a piece), die (indices that die at their first piece), mistake, hold.

    A mistake is found on every node, or with `first` on that node alone which comes first. Held, no piece is made
    until `go` is there.
    """
    place = Path(folder)
    behaviour = json.loads((place / "behaviour.json").read_text())
    append_json_line(place / "starts.jsonl", {"index": index, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")})
    for number in range(behaviour["pieces"]):
        piece = place / f"piece-{(number + index) % behaviour['pieces']}"
        with locked(piece.with_suffix(".lock"), blocking=False) as mine:
            if not mine or piece.exists():
                continue
            if behaviour.get("mistake") and (behaviour["mistake"] != "first" or _is_first(place)):
                raise DataError("toy.jpg", "every picture is whole", "half of it", "Copy it again.")
            time.sleep(behaviour.get("dt", 0.2))
            while behaviour.get("hold") and not (place / "go").exists():
                time.sleep(0.02)
            if index in behaviour.get("die", []):
                os._exit(9)
            append_json_line(place / "made.jsonl", {"piece": piece.name, "index": index})
            write_text(piece, "made")


def _is_first(place: Path) -> bool:
    with locked(place / "first.lock"):
        first, node = place / "first-node", node_name()
        if not first.exists():
            write_text(first, node)
        return first.read_text() == node


def pieces(folder: Path) -> int:
    return len([path for path in folder.glob("piece-*") if path.suffix != ".lock"])
