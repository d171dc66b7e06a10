"""Lines that were cut: by a full disk, or by a node that died while it wrote."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from vprdist.errors import UserError
from vprdist.files import (
    NotAFile,
    append_json_line,
    locked,
    open_file,
    read_json,
    read_json_lines,
    write_private_json,
    write_text,
)


@pytest.mark.parametrize("torn", [b'{"kind": "tr', b"\0" * 40, b"17"], ids=["half", "zeros", "number"])
def test_a_line_that_was_cut_costs_that_line_alone(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    append_json_line(path, {"step": 1})
    with path.open("ab") as stream:
        stream.write(torn)
    rows, offset = read_json_lines(path)
    assert rows == [{"step": 1}]
    append_json_line(path, {"step": 2})
    append_json_line(path, {"step": 3})
    assert read_json_lines(path)[0] == [{"step": 1}, {"step": 2}, {"step": 3}]
    assert read_json_lines(path, offset)[0] == [{"step": 2}, {"step": 3}]
    assert path.read_bytes().count(b"\n") == 4


def test_a_line_of_which_only_a_part_fits_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_json_line(path, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))  # as a quota: the system writes what fits
    try:
        with pytest.raises(OSError, match="File too large"):
            append_json_line(path, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == 20
    append_json_line(path, {"step": 3})
    assert read_json_lines(path)[0] == [{"step": 1}, {"step": 3}]


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    """A named pipe without a writer would be waited for until the job's time is up."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    for name, what in (("pipe", "a named pipe"), (".", "a folder"), ("/dev/null", "a device")):
        with pytest.raises(NotAFile, match=f"{what} lies where a file should"):
            open_file(tmp_path / name)
    with open_file(tmp_path / "link") as stream:
        assert stream.read() == b"abc"
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "nothing")


def test_what_is_written_goes_through_no_link(tmp_path: Path) -> None:
    """A link that somebody planted under a name that is known would make us write to what it leads to."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious")
    link.symlink_to(target)
    for write in (lambda: append_json_line(link, {"a": 1}), lambda: locked(link).__enter__()):
        with pytest.raises(UserError, match="a link may not lie where a file is written"):
            write()
    write_text(link, "new")
    assert target.read_text() == "precious"
    assert not link.is_symlink(), "the name is ours now"


def test_a_private_file_is_its_users_alone(tmp_path: Path) -> None:
    write_private_json(tmp_path / "secret", {"word": "x"})
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert read_json(tmp_path / "secret") == {"word": "x"}
