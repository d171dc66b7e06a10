"""Names that become parts of paths: which words are names, and where a path in the place of one is refused."""

from __future__ import annotations

import random

import pytest

from vprdist.errors import LaunchError, SweepFileError
from vprdist.spec.names import first_no_name, is_name, name_remedy
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep_file import read_sweep

PATHS = ("", ".", "..", "a/", "./a", "/data/a", "a/b", "../a", "a\\b", "..\\a", "a\0b", "a\n", "a\x7f", "/")
NAMES = ("a", "aa", "-a", ".a", "...", "a.b", "a b", "São Paulo", "_x-Y9", "a:b", "*")


@pytest.mark.parametrize("word", PATHS)
def test_a_path_is_no_name(word):
    assert not is_name(word)


@pytest.mark.parametrize("word", NAMES)
def test_other_words_are(word):
    assert is_name(word)


def test_the_first_of_many_that_is_none_is_found():
    rng = random.Random(5)
    for _ in range(200):
        words = rng.choices([*NAMES, *PATHS] if rng.random() < 0.7 else NAMES, k=rng.randrange(8))
        slow = [place for place, word in enumerate(words) if not is_name(word)]
        assert first_no_name(words) == (slow[0] if slow else None)


@pytest.mark.parametrize(
    ("word", "remedy"),
    [("aa/", "Write 'aa'."), ("./aa", "Write 'aa'."), ("/data/aa", "Write 'aa'."), ("x\\aa", "Write 'aa'."),
     ("..", "A name has no /"), ("", "A name has no /"), ("/", "A name has no /")],
)  # fmt: skip
def test_the_remedy_names_the_name_where_there_is_one(word, remedy):
    assert name_remedy(word).startswith(remedy)


@pytest.mark.parametrize("word", ["aa/", "./aa", "/data/aa", "..", "''", r"a\b"])
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("trial:\n  data:\n    train:\n      - bb\n      - {}\n", ":5: trial.data.train.1: "),
        ("trial:\n  data: {{validate: [{}]}}\n", ":2: trial.data.validate.0: "),
        ("trial:\n  evaluate:\n    predict: [cc, {}]\n", ":3: trial.evaluate.predict.1: "),
        ("trial:\n  data:\n    demo: {{train: [{}]}}\n", ":3: trial.data.demo.train.0: "),
        ("search:\n  grid:\n    data.validate: [[cc], [{}]]\n", ":3: search.grid.data.validate.1.0: "),
    ],
)
def test_a_city_of_a_sweep_file_is_a_name(tmp_path, text, where, word):
    path = tmp_path / "mine.yaml"
    path.write_text(text.format(word))
    with pytest.raises(SweepFileError) as caught:
        read_sweep(path)
    assert f"{path}{where}this must be a name, not a path; found {word.strip(chr(39))!r}." in str(caught.value)


def test_an_override_is_held_to_it_too(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: a\n")
    with pytest.raises(SweepFileError, match=r"override 'trial.data.train=\[aa/\]': trial.data.train.0: this must be"):
        read_sweep(path, ["trial.data.train=[aa/]"])


def test_a_profile_is_a_name_or_the_path_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm" / "profiles").mkdir(parents=True)
    (tmp_path / "secret.yaml").write_text("kind: local\n")
    assert read_profile("secret.yaml").kind == "local"
    with pytest.raises(LaunchError, match=r"or the path of a .yaml file; found '../../secret'. Write 'secret'."):
        read_profile("../../secret")
