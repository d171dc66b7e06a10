"""The segmenter of a sweep file: what is refused, and what identifies it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.errors import SweepFileError
from vprdist.spec.read import Origin, validate
from vprdist.spec.segmenter import SegmenterSpec

DEEPLAB = {"name": "deeplabv3plus", "weights": "best.pth"}


def spec(**keys: object) -> SegmenterSpec:
    return validate(SegmenterSpec, {**DEEPLAB, **keys}, Origin(Path("sweep.yaml")))


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "unknown": ({"name": "deeplabv3"}, "Did you mean 'deeplabv3plus'"),
    "no weights": ({"weights": None}, "random weights would make worthless activations"),
    "weights of litert": ({"name": "litert:a.tflite"}, "weights: litert must take its weights from its name"),
    "weights of transformers": ({"name": "transformers:a/b"}, "weights: transformers must take its weights"),
    "no file": ({"name": "litert:", "weights": None}, "litert:<file>"),
    "colon": ({"name": "deeplabv3plus:best.pth"}, "weights: PATH"),
    "stride": ({"output_stride": 32}, "output_stride"),
    "stride of another": ({"name": "transformers:a", "weights": None, "output_stride": 8}, "only deeplabv3plus"),
    "half of litert": ({"name": "litert:a", "weights": None, "precision": "float16"}, "was exported with"),
    "size of litert": (
        {"name": "litert:a", "weights": None, "image_size": [480, 640]},
        "cannot have another picture size than its own",
    ),
    "no window": ({"inference": "sliding"}, "needs a window"),
    "window at rest": ({"window": [64, 64]}, "only sliding inference"),
    "overlap at rest": ({"overlap": 0.5}, "only sliding inference"),
    "large window": ({"inference": "sliding", "window": [512, 512]}, "480 x 640"),
    "odd window": ({"inference": "sliding", "window": [240, 321]}, "multiples of 4"),
    "odd picture": ({"inference": "sliding", "window": [240, 320], "image_size": [482, 640]}, "image_size"),
    "whole overlap": ({"inference": "sliding", "window": [240, 320], "overlap": 1.0}, "overlap"),
    "precision": ({"precision": "float61"}, "Did you mean 'float16'"),
    "key": ({"flipped": True}, "Did you mean 'flip'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_contradictions_are_refused(case: str) -> None:
    keys, words = REFUSED[case]
    with pytest.raises(SweepFileError, match=words):
        spec(**keys)


def test_the_identity_is_all_that_decides_the_output_and_no_path() -> None:
    same = spec().identity("abc", "cpu")
    assert "best.pth" not in str(same)
    for keys in (
        {"weights": "elsewhere/best.pth"},
        {"output_stride": 16},
        {"image_size": [480, 640]},
        {"precision": "float16"},  # a CPU has none, so it is float32 all the same
    ):
        assert spec(**keys).identity("abc", "cpu") == same
    sliding = {"inference": "sliding", "window": [240, 320]}
    assert spec(**sliding).identity("abc", "cpu") == spec(**sliding, overlap=0.25).identity("abc", "cpu")
    others = [
        spec().identity("abd", "cpu"),
        spec(precision="float16").identity("abc", "cuda"),
        *(
            spec(**keys).identity("abc", "cpu")
            for keys in (
                {"output_stride": 8},
                {"image_size": [240, 320]},
                {"flip": True},
                {"size": [60, 80]},
                sliding,
                {**sliding, "overlap": 0.5},
                {"name": "transformers:a", "weights": None},
            )
        ),
    ]
    assert len({str(other) for other in [same, *others]}) == len(others) + 1
    assert SegmenterSpec(name="litert:a").identity("abc", "cpu") == SegmenterSpec(name="litert:b").identity(
        "abc", "cpu"
    )


def test_a_trial_hashes_a_segmenter_without_its_paths() -> None:
    assert spec().hashed() == spec(weights="elsewhere.pth").hashed()
    assert SegmenterSpec(name="transformers:a").hashed() == SegmenterSpec(name="transformers:/b").hashed()
    assert spec().hashed() != spec(flip=True).hashed()


def test_the_stored_size_is_known_without_the_network_where_the_spec_decides_it() -> None:
    assert spec().stored_size == (120, 160)
    assert spec(image_size=[65, 97]).stored_size == (17, 25)
    assert spec(size=[60, 80]).stored_size == (60, 80)
    assert SegmenterSpec(name="litert:a").stored_size is None
    assert SegmenterSpec(name="litert:a").picture_size is None


def test_words_tell_of_what_a_cpu_cannot_do() -> None:
    assert "float32 (a CPU has no bfloat16)" in spec(precision="bfloat16").words("abc", "cpu")
    assert spec(precision="bfloat16").words("abc", "cuda").endswith("bfloat16")
