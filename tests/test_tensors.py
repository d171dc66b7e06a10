"""Files of tensors and what of an error is shown: nothing is run, every fault is one line."""

from __future__ import annotations

import argparse
import os
import tarfile
import warnings
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vprdist.errors import WeightsError, first_line
from vprdist.network.backbones.state import read_state
from vprdist.tensors import Foreign, difference, find_state, is_state, load_tensors, not_finite


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n\none"), "one"),
        (EOFError(), "EOFError"),
        (KeyError(""), "''"),
        (OSError(" \n"), "OSError"),
    ],
)
def test_every_error_has_a_first_line(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_an_error_without_words_is_still_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **keys: object) -> None:
        raise EOFError

    monkeypatch.setattr(torch, "load", fail)
    (tmp_path / "some.pth").write_bytes(b"some")
    with pytest.raises(WeightsError, match=r"must hold a state dict; found .EOFError.\."):
        read_state(tmp_path / "some.pth", "Again.")


def test_advice_to_run_what_is_in_a_file_is_not_passed_on() -> None:
    for words in (
        "set `trust_remote_code=True` to remove this error", "use `torch.serialization.add_safe_globals([X])`",
        "(1) In PyTorch 2.6, change `weights_only` to False", "Object arrays cannot be loaded when allow_pickle=False",
    ):  # fmt: skip
        assert first_line(ValueError(words)) == "objects that only code of the file's own could make"


def test_tensors_plain_values_and_numpy_numbers_are_read_and_nothing_else(tmp_path: Path) -> None:
    good = {"state": {"w": torch.ones(2)}, "step": 3, "score": np.float64(0.5), "loss": np.float32(2)}
    torch.save(good, tmp_path / "good.pth")
    found = load_tensors(tmp_path / "good.pth", "it must be so", "remedy")
    assert found["score"] == 0.5 and found["step"] == 3 and torch.equal(found["state"]["w"], torch.ones(2))
    torch.save({"a": torch.ones(2), **{str(i): Call(i) for i in range(30)}}, tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("name: table1")
    for name, text in (
        ("code.pth", r"it must be so; found 'tests\.test_tensors\.call\d+ beside tensors'\. Ask for its state dict"),
        ("text.pth", "it must be so; found 'what torch.save does not write'"),
        ("none.pth", "no such file"),
    ):
        with pytest.raises(WeightsError, match=text) as caught:
            load_tensors(tmp_path / name, "it must be so", "remedy")
        assert "weights_only" not in str(caught.value), "torch's words tell how to run what is in the file"
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"must hold a state dict; found 'list'\. Again"):
        read_state(tmp_path / "list.pth", "Again.")


RAN: list[int] = []
"""The functions of a file that were called while it was read."""
for _number in range(30):
    globals()[f"call{_number}"] = lambda number=_number: RAN.append(number)
    globals()[f"call{_number}"].__qualname__ = f"call{_number}"


class Call:
    """An object whose pickle calls a function of this module when it is loaded."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return globals()[f"call{self.number}"], ()


def test_objects_beside_tensors_are_left_out_and_nothing_of_them_is_run(tmp_path: Path) -> None:
    state = {"w": torch.ones(2)}
    beside = {"args": argparse.Namespace(lr=0.1), "folder": Path("a"), "mine": Call(3), "raw": np.zeros(3)}
    torch.save({"state_dict": state, **beside}, tmp_path / "a.pth")
    torch.save({"state_dict": state, **beside}, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name in ("a.pth", "b.pth"):
        loaded = load_tensors(tmp_path / name, "it must be so", "remedy")
        assert isinstance(loaded["args"], Foreign) and not hasattr(loaded["args"], "lr")
        assert torch.equal(read_state(tmp_path / name, "Again.")["w"], torch.ones(2))
    assert not RAN
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert RAN == [3], "the file could have run something"
    RAN.clear()


@pytest.mark.parametrize(
    "beside",
    [
        np.arange(3), np.array(["a"]), np.array([{}], object), np.int64(3), np.random.default_rng(1),
        defaultdict(list, {"a": [1]}), defaultdict(int, a=1), deque([1, 2]), deque([Call(3)], 3),
    ],
)  # fmt: skip
def test_arrays_and_other_kinds_of_dicts_and_lists_do_not_keep_a_state_from_being_read(
    tmp_path: Path, beside: object
) -> None:
    for is_zip in (True, False):
        saved = {"state_dict": {"w": torch.ones(2)}, "score": np.float64(0.5), "beside": beside}
        torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
        assert torch.equal(read_state(tmp_path / "a.pth", "Again.")["w"], torch.ones(2))
    torch.save({"state_dict": defaultdict(list, w=torch.ones(2))}, tmp_path / "b.pth")
    assert torch.equal(read_state(tmp_path / "b.pth", "Again.")["w"], torch.ones(2))
    assert not RAN


def test_a_state_is_found_where_public_code_keeps_it() -> None:
    plain = {"w": torch.ones(2)}
    for loaded in (
        plain, {"state_dict": plain}, {"model": plain, "step": 3}, {"model_state": plain}, {"network": plain},
        {"model_state_dict": {"module.w": torch.ones(2)}}, {"state_dict": {"module._orig_mod.w": torch.ones(2)}},
        {"model": {"_orig_mod.module.w": torch.ones(2)}}, {"model": {"module.module.w": torch.ones(2)}},
    ):  # fmt: skip
        found = find_state(loaded)
        assert found is not None and list(found) == ["w"]
    for loaded in ({}, [torch.ones(2)], {"state_dict": {"w": 1}}, {"other": plain}, 3):
        assert find_state(loaded) is None


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10_000_000))


def module(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch have another form for programs
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(path))


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"),
        "found 'a Git LFS pointer'. Fetch what it points to: `git lfs pull`",
    ),
    "page": (
        lambda path: path.write_text("\n<!DOCTYPE html><html></html>"),
        "found 'a web page'. Fetch the file itself",
    ),
    "empty": (lambda path: path.write_bytes(b""), "found 'an empty file'"),
    "pipe": (os.mkfifo, "found 'a named pipe lies where a file should'"),
    "folder": (lambda path: path.mkdir(), "found 'a folder lies where a file should'"),
    "safetensors": (
        lambda path: path.write_bytes((2).to_bytes(8, "little") + b'{"a":1}'),
        "found 'a safetensors file'. Write it in",
    ),
    "program": (module, "found 'TorchScript, which is a program'. Ask for its state dict alone"),
    "whole object": (lambda path: torch.save(nn.ReLU(), path), "found 'a whole ReLU, which is a program'. Ask for"),
    "bomb": (bomb, "found 'an archive that becomes larger when it is read'"),
    "tar": (lambda path: tarfile.open(path, "w").close(), "; found "),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_lies_in_the_place_of_a_state_dict_is_called_by_its_name(tmp_path: Path, kind: str) -> None:
    make, words = OTHERS[kind]
    make(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=words) as caught:
        read_state(tmp_path / "a.pth", "Again.")
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)


def test_values_that_are_not_finite_are_counted() -> None:
    assert not_finite({"a": torch.ones(2), "n": torch.tensor(3)}) is None
    spoilt = torch.tensor([1.0, float("nan"), float("inf")])
    assert not_finite({"a": torch.ones(2), "b": spoilt}) == "2 of the 3 values of b"
    opposite = torch.tensor([float("inf"), -float("inf"), 0.0])
    assert not_finite({"a": opposite}) == "2 of the 3 values of a"
    large = torch.tensor([3e38, 3e38])
    assert not large.sum().isfinite() and not_finite({"a": large, "b": torch.zeros(0)}) is None


def test_states_are_compared_by_name_shape_and_type() -> None:
    wanted = {"a": torch.ones(2), "b": torch.ones(1, 3)}
    assert difference({"b": torch.zeros(1, 3), "a": torch.zeros(2)}, wanted) is None, "order and values are free"
    assert difference({"a": torch.ones(2)}, wanted) == "no b"
    assert difference({**wanted, "c": torch.ones(1)}, wanted) == "an unknown c"
    found = difference({**wanted, "b": torch.ones(3)}, wanted)
    assert found == "b is torch.float32 (3,), not (1, 3)"
    assert "torch.float64" in str(difference({**wanted, "a": torch.ones(2).double()}, wanted))
    many = {f"t{i}": torch.ones(1) for i in range(9)}
    assert difference({"x": torch.ones(1)}, many) == "no t0, no t1, no t2, and 6 more such, an unknown x"
    assert difference({**wanted, "a": torch.ones(2).to_sparse()}, wanted) == "a is nested, sparse or quantised"
    assert difference({**wanted, "a": torch.empty(2, device="meta")}, wanted) == "a has no values"
    huge = torch.ones(1).expand(2**40)
    assert difference({**wanted, "a": huge}, wanted) == f"a is torch.float32 ({2**40},), not (2,)"
    assert is_state(wanted) and is_state({}) and not is_state({"a": 1}) and not is_state({1: torch.ones(1)})
