"""`litert:<file>`: networks exported for LiteRT (.tflite), on the CPU (extra `litert`).

Exported networks answer with a class map, which is too little: the logits before it are read as an internal tensor.
How their points lie on the picture, the file says where it enlarges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vprdist.errors import WeightsError, first_line
from vprdist.files import mistaken_file
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.vocabulary import CLASSES, Grid

Details = Mapping[str, Any]


class LiteRTSegmenter:
    """One picture at a time: exported networks have a fixed input, (1, H, W, 3) uint8."""

    def __init__(
        self, interpreter: Any, image: Details, logits: Details, grid: Grid, image_size: tuple[int, int] | None
    ) -> None:
        self.interpreter, self.image, self.logits, self.grid = interpreter, image, logits, grid
        self.input_size = (int(image["shape"][1]), int(image["shape"][2]))
        self.image_size = image_size or self.input_size
        self.description = "litert"

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return int(self.logits["shape"][1]), int(self.logits["shape"][2])

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        pictures = image_B3HW.cpu()
        if tuple(pictures.shape[2:]) != self.input_size:
            pictures = F.interpolate(pictures, self.input_size, mode="bilinear", antialias=True)
        logits = [self._logits(picture_3HW) for picture_3HW in pictures]
        return torch.stack(logits).softmax(dim=1)

    def _logits(self, image_3HW: Tensor) -> Tensor:
        pixels_1HW3 = np.ascontiguousarray(image_3HW.permute(1, 2, 0).numpy())[None]
        self.interpreter.set_tensor(self.image["index"], pixels_1HW3)
        self.interpreter.invoke()
        values_hwC = torch.from_numpy(self.interpreter.get_tensor(self.logits["index"])[0].astype(np.float32))
        scale, zero = self.logits["quantization"]
        if scale:  # 0 marks a tensor that is not quantised
            values_hwC = (values_hwC - zero) * scale
        return values_hwC.permute(2, 0, 1)


def open_network(spec: SegmenterSpec, device: str) -> LiteRTSegmenter:
    """The network of a file.

    Raises:
        WeightsError: the library is not here, the file is no network, or one without logits of the 19 classes.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        remedy = "Install it: pip install 'vprdist[litert]'."
        raise WeightsError(spec.name, "this segmenter needs the package ai-edge-litert", None, remedy) from None
    path = Path(spec.source)
    try:
        # The built-in kernels: a delegate is a fifth faster, hides internal tensors and rounds as its machine does.
        interpreter = Interpreter(
            str(path),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        unknown = first_line(error), "Fetch or export it again, or name another."
        found, remedy = mistaken_file(path) or unknown
        raise WeightsError(path, "the file must be a whole .tflite network", found, remedy) from None
    image, logits = find_image(path, interpreter.get_input_details()), find_logits(path, *_graph(interpreter))
    grid = find_grid(image["shape"][1:3], logits["shape"][1:3], enlargements(path.read_bytes(), int(logits["index"])))
    return LiteRTSegmenter(interpreter, image, logits, grid, spec.picture_size)


def _graph(interpreter: Any) -> tuple[Sequence[Details], Sequence[Details], list[int]]:
    outputs = [int(detail["index"]) for detail in interpreter.get_output_details()]
    return interpreter.get_tensor_details(), interpreter._get_ops_details(), outputs


def find_image(path: Path, inputs: Sequence[Details]) -> Details:
    """The input, one picture of (1, H, W, 3) uint8.

    Raises:
        WeightsError: the network wants something else. How float pixels are to be scaled stands in no such file.
    """
    shapes = [(detail["dtype"].__name__, tuple(map(int, detail["shape"]))) for detail in inputs]
    if len(inputs) == 1 and inputs[0]["dtype"] is np.uint8:
        _, shape = shapes[0]
        if len(shape) == 4 and shape[0] == 1 and shape[3] == 3:
            return inputs[0]
    fault = "the network must take one picture, (1, H, W, 3) uint8"
    raise WeightsError(path, fault, shapes, "Export it with uint8 input.")


def find_logits(path: Path, tensors: Sequence[Details], ops: Sequence[Details], outputs: Sequence[int]) -> Details:
    """The tensor that holds the logits at the network's own resolution.

    It is one of the tensors that lead to an output and have 19 channels, with the fewest pixels of these (exported
    networks enlarge their logits before the class map), the last of them before softmax.

    Raises:
        WeightsError: there is none.
    """
    producer = {int(index): op for op in ops for index in op["outputs"]}
    leading: set[int] = set()
    waiting = list(outputs)
    while waiting:
        index = waiting.pop()
        if index in producer and index not in leading:
            leading.add(index)
            waiting += [int(i) for i in producer[index]["inputs"]]
    found = [
        detail
        for detail in tensors
        if detail["index"] in leading
        and len(detail["shape"]) == 4
        and (detail["shape"][0], detail["shape"][3]) == (1, len(CLASSES))
        and producer[detail["index"]]["op_name"] != "SOFTMAX"
    ]
    if not found:
        fault = f"the network must have a tensor of logits, (1, h, w, {len(CLASSES)})"
        remedy = "Use a network that was trained on Cityscapes, exported with its 19 classes."
        raise WeightsError(path, fault, "none", remedy)
    order = {int(index): position for position, op in enumerate(ops) for index in op["outputs"]}
    return min(found, key=lambda d: (int(d["shape"][1]) * int(d["shape"][2]), -order[int(d["index"])]))


class Enlargement(NamedTuple):
    """How a bilinear resizing places its pixels; neither: the first ones meet, and the last ones do not."""

    align_corners: bool
    half_pixel_centers: bool


def enlargements(content: bytes, logits: int) -> list[Enlargement]:
    """The bilinear resizings behind the logits, as the file has them (the interpreter keeps their options to itself).

    Args:
        content: of the .tflite file.
        logits: the tensor's index.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    behind, found = {logits}, []
    for op in map(graph.Operators, range(graph.OperatorsLength())):  # they stand in the order in which they run
        if behind.isdisjoint(op.InputsAsNumpy().tolist()):
            continue
        behind.update(op.OutputsAsNumpy().tolist())
        code = model.OperatorCodes(op.OpcodeIndex())
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == schema.BuiltinOperator.RESIZE_BILINEAR:
            options, table = schema.ResizeBilinearOptions(), op.BuiltinOptions()
            options.Init(table.Bytes, table.Pos)
            found.append(Enlargement(options.AlignCorners(), options.HalfPixelCenters()))
    return found


def find_grid(picture: Sequence[int], answer: Sequence[int], resizings: Sequence[Enlargement]) -> Grid:
    """How the points of the logits lie on the picture.

    It is what the network itself takes for it when it enlarges them. Where it does not say, its strides tell: of 33
    points over 513 pixels each lies 16 pixels from the next and the last on the last pixel; 32 over 512 fill cells of
    16 pixels.

    Args:
        picture: its height and width in pixels.
        answer: those of the logits.
    """
    if any(each.align_corners for each in resizings):
        return "corners"
    if any(each.half_pixel_centers for each in resizings):
        return "cells"
    sides = [(int(length), int(count)) for length, count in zip(picture, answer, strict=True)]
    is_cornered = all(count > 1 and length % count and (length - 1) % (count - 1) == 0 for length, count in sides)
    return "corners" if is_cornered else "cells"
