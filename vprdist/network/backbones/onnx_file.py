"""A network in an ONNX file, run by onnxruntime on the CPU (extra `onnx`)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vprdist.errors import WeightsError, first_line
from vprdist.files import digest_file
from vprdist.network.backbones.one_unit import NetworkOfFile

RULE = "the file must be a network in ONNX that takes one batch of pictures, (B, 3, H, W) float32"
EXPORT = "Write it so: torch.onnx.export(network.eval(), (picture,), FILE, dynamic_axes={'input': {0: 'batch'}}, …)."
INSTALL = "Install it: pip install 'vprdist[onnx]'."
OUTSIDE = re.compile(rb"\x0a\x08location\x12(.)", re.DOTALL)
"""How ONNX names a file of weights beside its own, in protocol buffers: the key, then the length of the name."""


class OnnxFile(NetworkOfFile):
    """The network of a file. Its first output is taken; beside features the second one too, as a class token.

    Raises:
        WeightsError: no such file, something else in it, or onnxruntime is not installed.
    """

    def open(self) -> nn.Module:
        return _Session(self.path)

    def digest_weights(self, path: Path) -> str:
        """The digest covers the file, and those beside it that hold its larger weights."""
        outside = outside_files(path)
        if not outside:
            return digest_file(path, 16)
        return hashlib.sha256(":".join(digest_file(each, 64) for each in (path, *outside)).encode()).hexdigest()[:16]


class _Session(nn.Module):
    """onnxruntime's session as a module without parameters. Copies share it: it holds no state."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise WeightsError(path, "an ONNX file needs the package onnxruntime", None, INSTALL) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each way in which a file is broken
            raise WeightsError(path, RULE, first_line(error)[:300], EXPORT) from None
        takes = self.session.get_inputs()
        if len(takes) != 1 or takes[0].type != "tensor(float)" or len(takes[0].shape) != 4:
            found = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in takes)
            raise WeightsError(path, RULE, found, EXPORT)
        self.name, first = takes[0].name, takes[0].shape[0]
        self.batch = first if isinstance(first, int) else None

    def __deepcopy__(self, memo: dict[int, Any]) -> _Session:
        return self

    def forward(self, image_B3HW: Tensor) -> Any:
        pictures = np.ascontiguousarray(image_B3HW.detach().float().cpu().numpy())
        found = [self._run(piece) for piece in self._pieces(pictures)]
        outputs = [torch.from_numpy(np.concatenate(each)[: len(pictures)]) for each in zip(*found, strict=True)]
        outputs = [each.to(image_B3HW.device) for each in outputs]
        return outputs[0] if len(outputs) == 1 or outputs[0].dim() == 2 else tuple(outputs[:2])

    def _pieces(self, pictures: Any) -> list[Any]:
        """In the batches that the file was exported for; the last is filled up."""
        if self.batch is None:
            return [pictures]
        short = -len(pictures) % self.batch
        filled = np.concatenate([pictures, *[pictures[-1:]] * short])
        return [filled[begin : begin + self.batch] for begin in range(0, len(filled), self.batch)]

    def _run(self, pictures: Any) -> list[Any]:
        found: list[Any] = self.session.run(None, {self.name: pictures})
        return found


def outside_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold its larger weights."""
    data = path.read_bytes()
    names = {data[each.end() : each.end() + each[1][0]] for each in OUTSIDE.finditer(data)}
    found = [path.parent / name.decode(errors="replace") for name in names]
    return sorted(each for each in found if each.is_file())
