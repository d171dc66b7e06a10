"""Seeded mutations: of bytes, and of what JSON, YAML, CSV, npy and zip files say."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import socket
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.fuzz.format import Format, Mutation

PLACE_SHARE = 0.06
RAW = "@@raw%d@@"
RAWS = (
    "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 5000, "-" + "9" * 30, "1e308", "[" * 3000,
    "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, '"\\ud800"', '"\\u0000"', "tru", "1,2",
)  # fmt: skip
"""JSON texts that Python's own writer does not make."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 0.5, -0.0, 1e300, "", " ", "x", "0", "null", "..",
    "../../x", "/etc/passwd", "a/b", "x" * 100_000, "\x1b[31mred\x1b[0m", "a\nb\rc", "\u202e", "\x00", "ünï",
    [], [[]], [None], {}, {"": None}, [0] * 1000, [[[[[]]]]], {"a": {"b": {"c": {}}}}, ["x", 1, None, {}],
)  # fmt: skip
SPLICES = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"\r\n", b"\r", b"\t", b"\x1b[2J",
    b"%s%n", b"[" * 500, b"{" * 500, b"\"" * 3, b"'", b"9" * 5000, b"1e999", b"NaN", b",,,,", b";", b"#", b"&a ",
    b"*a ", b"!!", b"-", b"\xff" * 8, b"\x00" * 64, b"\x7f\xff\xff\xff", b"A" * 70_000,
)  # fmt: skip


def mutate(one: Format, rng: random.Random, path: Path) -> str:
    """Change the target on the disk; says what was done."""
    if one.places and rng.random() < PLACE_SHARE:
        place = rng.choice(PLACES)
        place(path)
        return place.__name__
    known = [*one.mutations, *BY_ENDING.get(path.suffix, ())]
    chosen = rng.choice(known) if known and rng.random() < 0.65 else rng.choice(BYTES)
    path.write_bytes(chosen(rng, path.read_bytes()))
    return chosen.__name__


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice((0, 1, rng.randrange(len(data) + 1), max(0, len(data) - 1)))]


def lose_slice(rng: random.Random, data: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[end:]


def double_slice(rng: random.Random, data: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:]


def splice(rng: random.Random, data: bytes) -> bytes:
    at = rng.choice((0, len(data), rng.randrange(len(data) + 1)))
    return data[:at] + rng.choice(SPLICES) + data[at + rng.choice((0, 0, 1, 4)) :]


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """A run of one byte, or of noise, at the file's own length: a lost sector."""
    start, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 8, 64, 512))
    length = min(length, len(data) - start)
    filled = rng.choice((b"\x00" * length, b"\xff" * length, rng.randbytes(length)))
    return data[:start] + filled + data[start + length :]


def overwrite_number(rng: random.Random, data: bytes) -> bytes:
    """A little- or big-endian whole number of a hostile size: what headers hold."""
    kind = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size, top = struct.calcsize(kind), 2 ** (8 * struct.calcsize(kind))
    if len(data) < size:
        return data
    at = rng.randrange(min(len(data) - size, rng.choice((16, 64, 512, len(data)))) + 1)
    return data[:at] + struct.pack(kind, rng.choice((0, 1, top - 1, top // 2, top // 2 - 1))) + data[at + size :]


def noise(rng: random.Random, data: bytes) -> bytes:
    return rng.randbytes(rng.choice((1, 16, 1000)))


def other_encoding(rng: random.Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(("utf-16", "utf-16-be", "utf-8-sig", "utf-32", "cp037")), "replace")


BYTES: tuple[Mutation, ...] = (
    flip_bits, flip_bits, cut, cut, lose_slice, double_slice, splice, splice, overwrite, overwrite_number, noise,
)  # fmt: skip


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything below a value of JSON or YAML."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        here = todo.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        for key in keys:
            found.append((here, key))
            todo.append(here[key])
    return found


def change_values(rng: random.Random, value: Any) -> tuple[Any, dict[str, str]]:
    """The value with one to three places changed, and what stands for raw text in it."""
    raws: dict[str, str] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = nodes(value)
        if not places or rng.random() < 0.03:
            return copy.deepcopy(rng.choice(VALUES)), raws
        holder, key = rng.choice(places)
        how = rng.random()
        if how < 0.2:
            del holder[key]
        elif how < 0.3 and isinstance(holder, dict):
            holder[f"{key}{rng.choice(('_', ' ', chr(0), 'x'))}"] = holder.pop(key)
        elif how < 0.55:
            raws[RAW % len(raws)] = rng.choice(RAWS)
            holder[key] = RAW % (len(raws) - 1)
        elif how < 0.65:
            other, at = rng.choice(places)
            holder[key] = copy.deepcopy(other[at] if at in _keys(other) else None)
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))  # the next change may be made within it
    return value, raws


def _keys(holder: Any) -> Sequence[Any]:
    return list(holder) if isinstance(holder, dict) else range(len(holder))


def json_values(rng: random.Random, data: bytes) -> bytes:
    value, raws = change_values(rng, json.loads(data))
    text = json.dumps(value, indent=1)
    for mark, raw in raws.items():
        text = text.replace(f'"{mark}"', raw)
    return text.encode("utf-8", "surrogatepass")


def json_doubled_key(rng: random.Random, data: bytes) -> bytes:
    """The first key again with another value: the last one counts for Python, the first for others."""
    text = data.decode().rstrip()
    value = json.loads(text)
    if not isinstance(value, dict) or not value:
        return data
    key = rng.choice(list(value))
    return f"{text[:-1]}, {json.dumps(key)}: {json.dumps(rng.choice(VALUES))}}}".encode()


def json_line(rng: random.Random, data: bytes) -> bytes:
    """One line's values changed."""
    lines = data.split(b"\n")
    at = rng.choice([i for i, line in enumerate(lines) if line.strip()])
    return b"\n".join([*lines[:at], json_values(rng, lines[at]).replace(b"\n", b" "), *lines[at + 1 :]])


def json_no_object(rng: random.Random, data: bytes) -> bytes:
    """A line that is no object, or stands twice."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    line = rng.choice((b"[]", b"3", b'"x"', b"null", b"{}", lines[at], b"[" * 3000, b"9" * 5000))
    return b"\n".join([*lines[:at], line, *lines[at:]])


def yaml_values(rng: random.Random, data: bytes) -> bytes:
    value, raws = change_values(rng, yaml.safe_load(data))
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    for mark, raw in raws.items():
        text = text.replace(f"'{mark}'", raw)
    return text.encode("utf-8", "surrogatepass")


def yaml_text(rng: random.Random, data: bytes) -> bytes:
    """What only YAML can say: aliases that grow, tags, merges, tabs, odd scalars."""
    grow = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)
    ])  # fmt: skip
    told = rng.choice((
        grow, "a: &a [*a]", "a: *nowhere", "<<: 3", "<<: [*x]", "? [1, 2]\n: 3", "? {a: 1}\n: 3", "\ta: 1",
        "a: !!python/object/apply:os.system [ls]", "a: !!binary x", "a: !!timestamp x", "a: 2020-99-99", "a: 0x",
        f"a: {'9' * 20_000}", "a: 1:2:3:4", f"a: {'[' * 500}", f"a: {'{' * 500}", f"a: {'x' * 2_000_000}", "---\n--- ",
        "%YAML 9.9\n---", "a: |\n b\n  c\n d", "a: .inf", "a: .nan", "a: 1e999", "a: ~", "y: on", f"{'a: ' * 200}",
        "name: again", "\u2028: x", "a: '\ud800'",
    ))  # fmt: skip
    lines = data.split(b"\n")
    at = rng.choice((0, len(lines), rng.randrange(len(lines) + 1)))
    return b"\n".join([*lines[:at], told.encode("utf-8", "surrogatepass"), *lines[at:]])


def csv_cells(rng: random.Random, data: bytes) -> bytes:
    """A cell, a row or a column that is not what it was."""
    rows = [line.split(",") for line in data.decode("utf-8", "replace").splitlines()] or [[""]]
    row, how = rng.randrange(len(rows)), rng.random()
    column = rng.randrange(len(rows[row]))
    if how < 0.6:
        rows[row][column] = rng.choice((
            "", " ", "nan", "inf", "1e999", "-1", "x", "9" * 5000, "9" * 20, "1e30", "TRUE", "True", "0x10", "1_0",
            '"', '"a\nb"', "\x00", "../../x", "/etc/passwd", "a/b", "٣", "\x1b[31m", "x" * 200_000, "1;2", "1e308",
        ))  # fmt: skip
    elif how < 0.7:
        del rows[row][column]
    elif how < 0.8:
        rows.insert(row, list(rows[row]))
    elif how < 0.9:
        place = rng.randrange(len(rows[0]))
        rows = [cells[:place] + cells[place + 1 :] for cells in rows]
    else:
        rows = [rows[0]] if rng.random() < 0.5 else rows[1:]
    return "\n".join(",".join(cells) for cells in rows).encode("utf-8", "surrogatepass") + b"\n"


def csv_spreadsheet(rng: random.Random, data: bytes) -> bytes:
    """What programs for tables leave: a byte order mark, semicolons, tabs, other line ends, other encodings."""
    text = data.decode("utf-8", "replace")
    how = rng.randrange(6)
    if how < 3:
        text = (
            text.replace(",", ";"),
            text.replace(",", "\t"),
            text.replace("True", "TRUE").replace("False", "FALSE"),
        )[how]
    return text.replace("\n", rng.choice(("\n", "\r\n", "\r"))).encode(rng.choice(("utf-8-sig", "utf-8", "utf-16")))


HEADER = "{'descr': %s, 'fortran_order': %s, 'shape': %s, }"
HEADERS = (
    "", "{", "{'descr': '<f4'", "{'descr': '<f4', 'shape': (1,), }", "[]", "1 1", "(" * 500, "'''", "\\", "f()",
    *(HEADER % (f"'{kind}'", False, "(2,)") for kind in ("|O", "x", "<U99999999", "<c16", "<M8[s]", ">f8", "|S0")),
    *(HEADER % ("'<f4'", False, shape) for shape in ("()", "(-1,)", "3", f"({2**40},)", f"({'9' * 5000},)", "(0,)")),
    HEADER % ("'<f4'", 3, "(1,)"), HEADER % ("'<f4'", True, "(2,)"), HEADER % ("[('a', '<f4')]", False, "(1,)"),
    HEADER % ("'<f4'", False, (2**40, 2**40)),
)  # fmt: skip


def npy_header(rng: random.Random, data: bytes) -> bytes:
    """An array file whose header says something else."""
    if data[:6] != b"\x93NUMPY" or len(data) < 10:
        return noise(rng, data)
    end = 10 + struct.unpack("<H", data[8:10])[0]
    head = rng.choice(HEADERS).encode()
    if rng.random() < 0.3:  # the old one, a little changed
        head = flip_bits(rng, data[10:end])
    version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(head))
    return data[:6] + version + length + head + data[end:]


def zip_members(rng: random.Random, data: bytes) -> bytes:
    """A zip archive (npz, .pt) with a member changed, lost, doubled, renamed, or grown out of nothing."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except zipfile.BadZipFile:
        return flip_bits(rng, data)
    at = rng.randrange(len(members))
    name, held = members[at]
    how = rng.randrange(7)
    if how == 0:
        del members[at]
    elif how == 1:
        members[at] = (rng.choice((f"{name}x", f"../{name}", f"/{name}", "", name.split(".")[0])), held)
    elif how == 2:
        members.append((name, members[rng.randrange(len(members))][1]))
    elif how == 3:
        members[at] = (name, held + b"\x00" * 300_000_000)  # kilobytes that become megabytes
    else:
        members[at] = (name, rng.choice((npy_header, npy_header, flip_bits, cut, noise))(rng, held))
    out = io.BytesIO()
    packed = zipfile.ZIP_DEFLATED if how == 3 else rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packed, compresslevel=1) as archive:
        warnings.simplefilter("ignore", UserWarning)  # that a name is there twice is on purpose
        for name, held in members:
            archive.writestr(name or "x", held)
    return out.getvalue()


BY_ENDING: dict[str, tuple[Mutation, ...]] = {
    ".json": (json_values, json_values, json_values, json_doubled_key, other_encoding),
    ".jsonl": (json_line, json_line, json_no_object),
    ".yaml": (yaml_values, yaml_text, other_encoding),
    ".csv": (csv_cells, csv_cells, csv_spreadsheet),
    ".npy": (npy_header,),
    ".npz": (zip_members,),
    ".pt": (zip_members,),
    ".pth": (zip_members,),
}


def missing(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def endless_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(path.parent, os.O_RDONLY)
        try:  # the name of a socket has room for 108 bytes
            listening.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def huge(path: Path) -> None:
    """5 GB of nothing, that take no room."""
    os.truncate(path, 5 * 10**9)


def nobody_may_read(path: Path) -> None:
    path.chmod(0)  # root may all the same


PLACES: tuple[Callable[[Path], None], ...] = (
    missing, folder, fifo, dangling_link, link_to_itself, endless_device, unix_socket, huge, nobody_may_read,
)  # fmt: skip
