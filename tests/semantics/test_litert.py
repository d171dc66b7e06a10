"""Exported networks: where their logits lie, and the real DeepLab of ../shared/data against its own class map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vprdist.errors import WeightsError
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.segmenters.litert import find_image, find_logits
from vprdist.spec.segmenter import SegmenterSpec

FILE = Path("net.tflite")
SMALL = torch.full((1, 3, 50, 70), 128, dtype=torch.uint8)


def tensor(index: int, *shape: int, dtype: type = np.uint8) -> dict[str, Any]:
    return {"index": index, "shape": np.array(shape), "dtype": dtype, "quantization": (0.5, 3)}


def op(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"op_name": name, "inputs": np.array(inputs), "outputs": np.array(outputs)}


TENSORS = [
    tensor(0, 1, 65, 65, 3),
    tensor(1, 19, 1, 1, 32),  # a filter
    tensor(2, 1, 9, 9, 19),  # the first guess
    tensor(3, 1, 9, 9, 19),  # added to, of the same size: the logits
    tensor(4, 1, 9, 9, 19),  # softmax
    tensor(5, 1, 65, 65, 19),  # enlarged
    tensor(6, 1, 65, 65),
    tensor(7, 1, 5, 5, 19),  # leads nowhere
]
OPS = [
    op("CONV_2D", [0, 1], [2]),
    op("ADD", [2, 0], [3]),
    op("CONV_2D", [0, 1], [7]),
    op("SOFTMAX", [3], [4]),
    op("RESIZE_BILINEAR", [4], [5]),
    op("ARG_MAX", [5, -1], [6]),
]


def test_the_logits_are_the_last_small_tensor_of_19_channels_before_softmax() -> None:
    assert find_logits(FILE, TENSORS, OPS, [6])["index"] == 3
    assert find_logits(FILE, TENSORS, OPS[:2], [3])["index"] == 3, "an output may be it"


def test_a_network_without_logits_says_so() -> None:
    others = [{**detail, "shape": detail["shape"] + (detail["shape"] == 19) * 2} for detail in TENSORS]
    with pytest.raises(WeightsError, match=r"net\.tflite: the network must have a tensor of logits, \(1, h, w, 19\)"):
        find_logits(FILE, others, OPS, [6])
    with pytest.raises(WeightsError, match="logits"):
        find_logits(FILE, TENSORS, OPS[2:3], [0])


def test_pixels_are_bytes() -> None:
    assert find_image(FILE, TENSORS[:1]) is TENSORS[0]
    for inputs in ([tensor(0, 1, 65, 65, 3, dtype=np.float32)], TENSORS[:2], [tensor(0, 1, 3, 65, 65)]):
        with pytest.raises(WeightsError, match="uint8"):
            find_image(FILE, inputs)


def test_files_that_are_no_network(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: pip install -e .[litert]")
    for name, content in (("empty", b""), ("text", b"no network" * 20)):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name}\.tflite.*Fetch or export it again"):
            open_segmenter(SegmenterSpec(name=f"litert:{path}"))
    with pytest.raises(WeightsError, match="no such file; the weights of litert must be one"):
        open_segmenter(SegmenterSpec(name=f"litert:{tmp_path / 'nowhere.tflite'}"))


@pytest.fixture(scope="module")
def real_file() -> Path:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: pip install -e .[litert]")
    return Path("deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite")


def test_the_real_deeplab_agrees_with_its_own_class_map(shared_data: Path, real_file: Path, tmp_path: Path) -> None:
    path = shared_data / "weights" / real_file
    if not path.is_file():
        pytest.skip(f"no {path}")
    segmenter: Any = open_segmenter(SegmenterSpec(name=f"litert:{path}"))
    assert segmenter.image_size == (513, 513) and segmenter.output_size((513, 513)) == (33, 33)
    with Image.open(shared_data / "weights" / "cityscapes_segmentation.bmp") as file:
        picture = np.asarray(file.convert("RGB").resize((513, 513), Image.Resampling.BILINEAR))
    found = segmenter(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 33, 33))
    while hasattr(segmenter, "inner"):
        segmenter = segmenter.inner
    output = segmenter.interpreter.get_output_details()[0]["index"]
    class_map = segmenter.interpreter.get_tensor(output)[0]
    logits = found.log()
    enlarged = torch.nn.functional.interpolate(logits, (513, 513), mode="bilinear", align_corners=True)
    assert (enlarged[0].argmax(dim=0).numpy() == class_map).mean() > 0.99
    assert len(np.unique(class_map)) > 5
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(path.read_bytes()[:400_000])
    with pytest.raises(WeightsError, match=r"cut\.tflite: the file must be a whole"):
        open_segmenter(SegmenterSpec(name=f"litert:{cut}"))


def test_pictures_of_another_size_are_brought_to_the_network(shared_data: Path, real_file: Path) -> None:
    path = shared_data / "weights" / real_file
    if not path.is_file():
        pytest.skip(f"no {path}")
    segmenter = open_segmenter(SegmenterSpec(name=f"litert:{path}"))
    assert torch.equal(segmenter(SMALL), open_segmenter(SegmenterSpec(name=f"litert:{path}"), "cuda")(SMALL)), (
        "it runs on the CPU whatever the device"
    )
    assert torch.equal(segmenter(SMALL), segmenter(torch.full((1, 3, 513, 513), 128, dtype=torch.uint8)))
