"""SegFormer from a folder: as a plain call of the library, with the right classes, and without the internet."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vprdist.errors import WeightsError
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.segmenters.weights import weights_digest
from vprdist.spec.class_table import settled_table, table_of
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.vocabulary import CLASSES

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install -e .[transformers]"
)

SIZE = (48, 64)
TINY = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 16,
}


def save_model(folder: Path, labels: list[str], seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = transformers.SegformerConfig(**TINY, num_labels=len(labels), id2label=dict(enumerate(labels)))
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


def spec_of(folder: Path, **keys: Any) -> SegmenterSpec:
    return SegmenterSpec(name=f"transformers:{folder}", image_size=SIZE, **keys)


@pytest.mark.parametrize("pixels", [None, {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7]}])
def test_the_same_as_a_plain_call(tmp_path: Path, pixels: dict[str, Any] | None) -> None:
    folder = save_model(tmp_path / "model", list(CLASSES))
    before = weights_digest(spec_of(folder))
    if pixels:
        (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
        assert weights_digest(spec_of(folder)) != before, "other pixels are other activations"
    images = np.random.default_rng(0).integers(0, 256, (2, 3, *SIZE), dtype=np.uint8)
    told = pixels or {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    mean, std = (np.reshape(told[name], (3, 1, 1)) for name in ("image_mean", "image_std"))
    model = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = model(torch.from_numpy((images / 255 - mean) / std).float()).logits.softmax(dim=1)
    segmenter = open_segmenter(spec_of(folder))
    found = segmenter(torch.from_numpy(images))
    assert segmenter.output_size(SIZE) == (12, 16) and found.shape == (2, 19, 12, 16)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert float(found.std(dim=(2, 3)).max()) > 1e-5, "pixels differ"


def test_a_model_that_was_saved_in_short_floats_computes_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", list(CLASSES))
    transformers.SegformerForSemanticSegmentation.from_pretrained(folder).half().save_pretrained(tmp_path / "half")
    whole, half = (open_segmenter(spec_of(path)) for path in (folder, tmp_path / "half"))
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, *SIZE), dtype=np.uint8))
    assert half(image).dtype == torch.float32
    torch.testing.assert_close(half(image), whole(image), rtol=0, atol=1e-3)


def test_another_name_of_the_same_files_is_the_same(tmp_path: Path) -> None:
    one, other = (save_model(tmp_path / name, list(CLASSES)) for name in ("one", "other"))
    assert weights_digest(spec_of(one)) == weights_digest(spec_of(other))
    assert weights_digest(spec_of(save_model(tmp_path / "third", list(CLASSES), seed=1))) != weights_digest(
        spec_of(one)
    )


def test_only_the_19_classes_in_order_are_taken(tmp_path: Path) -> None:
    for name, labels, words in (
        ("ade", [f"thing {i}" for i in range(150)], "the 19 classes of Cityscapes; found 150"),
        ("order", [*CLASSES[1:], CLASSES[0]], "class 0 of the model must be 'road'; found 'sidewalk'"),
    ):
        with pytest.raises(WeightsError, match=words):
            open_segmenter(spec_of(save_model(tmp_path / name, labels)))
    for name, labels in (
        ("unnamed", [f"LABEL_{i}" for i in range(19)]),
        ("spelled", [c.title().replace(" ", "_") for c in CLASSES]),
    ):
        open_segmenter(spec_of(save_model(tmp_path / name, labels)))


def test_a_model_of_another_table_is_taken_where_that_is_asked_for(tmp_path: Path) -> None:
    """Its config.json is a class table; checkpoints spell the names of ADE20K with blanks around them."""
    odd = ["tall house", "a/b", "Straße"]
    folder = save_model(tmp_path / "odd", odd)
    names = settled_table(str(folder / "config.json"))
    assert names == tuple(odd)
    assert open_segmenter(spec_of(folder), "cpu", names).output_size(SIZE) == (12, 16)
    image = torch.zeros(1, 3, *SIZE, dtype=torch.uint8)
    assert open_segmenter(spec_of(folder, flip=True), "cpu", names)(image).shape == (1, 3, 12, 16)
    sliding = spec_of(folder, inference="sliding", window=(32, 32))
    assert open_segmenter(sliding, "cpu", names)(image).shape[:2] == (1, 3)
    ade = save_model(tmp_path / "ade", [f"{name} " for name in table_of("ade20k").classes])
    assert open_segmenter(spec_of(ade), "cpu", "ade20k")(image).shape[1] == 150
    for table, words in (("ade20k", "the 150 classes of the class table ade20k; found 3"),
                         (names[::-1], "class 0 of the model must be 'Straße'; found 'tall house'")):  # fmt: skip
        with pytest.raises(WeightsError, match=words):
            open_segmenter(spec_of(folder), "cpu", table)
    with pytest.raises(WeightsError, match="deeplabv3plus has the 19 classes"):
        open_segmenter(SegmenterSpec(name="deeplabv3plus", weights="nowhere"), "cpu", "ade20k")


def test_a_network_of_masks_answers_with_probabilities(tmp_path: Path) -> None:
    """Against the library's own way to class scores, and a slow sum over masks."""
    torch.manual_seed(0)
    names = ("tall house", "a/b", "Straße")
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=5,
        id2label=dict(enumerate(names)),
    )  # fmt: skip
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(tmp_path)
    segmenter = open_segmenter(SegmenterSpec(name=f"transformers:{tmp_path}", image_size=(64, 64)), "cpu", names)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8))
    found = segmenter(image)
    assert found.shape[:2] == (2, 3) and (found.sum(dim=1) - 1).abs().max() < 1e-5
    inner: Any = segmenter
    while not hasattr(inner, "model"):
        inner = inner.inner
    with torch.no_grad():
        answer = inner.model(pixel_values=(image.float() / 255 - inner.mean) / inner.std)
    slow = torch.zeros_like(found)
    for query in range(5):
        known = answer.class_queries_logits[:, query].softmax(dim=1)[:, :3, None, None]
        slow += known * answer.masks_queries_logits[:, query, None].sigmoid()
    torch.testing.assert_close(found, slow / slow.sum(dim=1, keepdim=True), rtol=0, atol=1e-5)


def test_a_model_that_is_not_here_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="Run `hf download nobody/segformer-of-no-one`"):
        open_segmenter(SegmenterSpec(name="transformers:nobody/segformer-of-no-one"))
    with pytest.raises(WeightsError, match="a machine that reaches the hub"):
        open_segmenter(spec_of(tmp_path / "no" / "such" / "folder"))
    with pytest.raises(WeightsError, match=r"config\.json"):
        open_segmenter(spec_of(tmp_path))


@pytest.mark.parametrize("fault", ["cut", "config", "pixels", "no tensors", "missing tensor"])
def test_a_broken_folder_is_one_clear_error(tmp_path: Path, fault: str) -> None:
    folder = save_model(tmp_path / "model", list(CLASSES))
    tensors = folder / "model.safetensors"
    if fault == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-1000])
    elif fault == "config":
        (folder / "config.json").write_text("{")
    elif fault == "pixels":
        (folder / "preprocessor_config.json").write_text("[1")
    elif fault == "no tensors":
        tensors.unlink()
    else:
        from safetensors.torch import load_file, save_file

        state = load_file(tensors)
        del state["decode_head.classifier.weight"]
        save_file(state, tensors, metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        open_segmenter(spec_of(folder))
    assert str(folder) in str(caught.value) and caught.value.remedy
    if fault == "missing tensor":
        assert "decode_head.classifier.weight" in str(caught.value)


class Unsafe:
    """Its pickle calls a function when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("run",)


@pytest.mark.parametrize("kind", ["pickle", "code", "page", "not finite"])
def test_no_message_advises_to_run_what_lies_in_a_folder(tmp_path: Path, kind: str) -> None:
    folder = save_model(tmp_path / "model", list(CLASSES))
    state = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).state_dict()
    if kind == "code":
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoConfig": "mine.Config", "AutoModelForSemanticSegmentation": "mine.Model"}
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "mine"}))
    else:
        (folder / "model.safetensors").unlink()
        state["decode_head.classifier.bias"].fill_(torch.nan)
        torch.save(state if kind == "not finite" else {"a": Unsafe()}, folder / "pytorch_model.bin")
    if kind == "page":
        (folder / "pytorch_model.bin").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(WeightsError) as caught:
        open_segmenter(spec_of(folder))
    said = str(caught.value)
    assert not re.search("weights_only|trust_remote_code|safe_globals", said) and "\n" not in said
    assert kind != "not finite" or "weights must be finite; found '19 of the 19 values of decode_head" in said
    assert kind != "page" or "a web page" in said
