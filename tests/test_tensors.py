"""Files of tensors and what of an error is shown: nothing is run, every fault is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vprdist.errors import WeightsError, first_line
from vprdist.network.backbones.state import read_state
from vprdist.tensors import first_difference, is_state, load_tensors


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
    with pytest.raises(WeightsError, match=r"must hold a state dict; found .EOFError.\."):
        read_state(tmp_path / "empty.pth")


def test_tensors_plain_values_and_numpy_numbers_are_read_and_nothing_else(tmp_path: Path) -> None:
    good = {"state": {"w": torch.ones(2)}, "step": 3, "score": np.float64(0.5), "loss": np.float32(2)}
    torch.save(good, tmp_path / "good.pth")
    found = load_tensors(tmp_path / "good.pth", "it must be so", "remedy")
    assert found["score"] == 0.5 and found["step"] == 3 and torch.equal(found["state"]["w"], torch.ones(2))
    torch.save({"network": nn.ReLU()}, tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("name: table1")
    for name, text in (
        ("code.pth", "it must be so; found 'torch.nn.modules.activation.ReLU beside tensors'"),
        ("text.pth", "it must be so; found 'what torch.save does not write'"),
        ("none.pth", "no such file"),
    ):
        with pytest.raises(WeightsError, match=text) as caught:
            load_tensors(tmp_path / name, "it must be so", "remedy")
        assert "weights_only" not in str(caught.value), "torch's words tell how to run what is in the file"
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="must hold a state dict; found 'list'"):
        read_state(tmp_path / "list.pth")


def test_states_are_compared_by_name_shape_and_type() -> None:
    wanted = {"a": torch.ones(2), "b": torch.ones(1, 3)}
    assert first_difference({"b": torch.zeros(1, 3), "a": torch.zeros(2)}, wanted) is None, "order and values are free"
    assert first_difference({"a": torch.ones(2)}, wanted) == "no b"
    assert first_difference({**wanted, "c": torch.ones(1)}, wanted) == "an unknown c"
    found = first_difference({**wanted, "b": torch.ones(3)}, wanted)
    assert found == "b is torch.float32 (3,), not (1, 3)"
    assert "torch.float64" in str(first_difference({**wanted, "a": torch.ones(2).double()}, wanted))
    assert is_state(wanted) and is_state({}) and not is_state({"a": 1}) and not is_state({1: torch.ones(1)})
