"""The documents: links lead somewhere, the contents name every section, and what a newcomer reads first is short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), ROOT / "slurm/README.md", ROOT / "sweeps/README.md"]
DOCUMENTS += sorted((ROOT / "vprdist").rglob("README.md"))
SCREEN = 45
"""Lines of a terminal that somebody reads in."""


def prose(path: Path) -> str:
    """A document without its blocks of code, where brackets are no links."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def sections(path: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)


def anchor(heading: str) -> str:
    """How GitHub names a heading: small letters, hyphens for spaces, no other marks."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def dead(path: Path) -> list[str]:
    """The links of a document to files and sections that are not there."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith("http"):
            continue
        name, _, section = target.partition("#")
        there = path.parent / name if name else path
        known = there.exists() and (not section or section in map(anchor, sections(there)))
        found += [] if known else [target]
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert not dead(path)


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Here it is!\n[a](#here-it-is) [b](#there) [c](gone.md)\n```\n[d](code.md)\n```\n")
    assert dead(page) == ["#there", "gone.md"]


def test_the_contents_of_the_readme_name_every_section_in_order() -> None:
    text = (ROOT / "README.md").read_text()
    headings = re.findall(r"^## (.+)$", prose(ROOT / "README.md"), flags=re.MULTILINE)
    assert re.findall(r"\[([^\]]+)\]\(#", text[: text.index("\n## ")]) == headings


def test_ones_own_question_takes_no_more_than_a_screen() -> None:
    section = (ROOT / "README.md").read_text().split("\n## Your own question\n")[1].split("\n## ")[0]
    assert 10 < len(section.splitlines()) <= SCREEN


def test_every_sweep_that_is_shipped_is_in_the_table_of_sweeps() -> None:
    table = (ROOT / "sweeps/README.md").read_text()
    assert all(f"| `{path.name}` |" in table for path in (ROOT / "sweeps").glob("*.yaml"))
