"""Caches from activations that somebody else computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vprdist.data.layouts import open_layout
from vprdist.errors import CacheError, RuleError
from vprdist.semantics.building import Progress, build
from vprdist.semantics.cache.reader import Cache
from vprdist.semantics.exporting import with_lost
from vprdist.semantics.order import SAME_KIND
from vprdist.semantics.planning import chosen_cities, make_plan
from vprdist.semantics.present import cities_to_plan, is_built, would_replace
from vprdist.semantics.sources import open_source
from vprdist.spec.base import Names
from vprdist.spec.class_table import ClassTable, settled_table, table_of
from vprdist.spec.doors import MSLS, LayoutName
from vprdist.spec.vocabulary import Compression


def import_cache(
    source: Path,
    root: Path,
    out: Path,
    cities: Sequence[str] | None = None,
    *,
    layout: LayoutName = MSLS,
    leave_out: str | Sequence[str] = (),
    size: tuple[int, int] | None = None,
    segmenter: str = "imported",
    shard_images: int = 256,
    compression: Compression = "none",
    class_table: str | Names | None = None,
    top_k: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Cache:
    """Make the cache `out`, or complete it, or find it complete and return at once; see `building.build`.

    Args:
        source: a folder of activations; its layout is recognised (see `sources`).
        root: the data set that says which keys there are, and in which order.
        out: the cache's folder.
        cities: None means every city of the data set that the source has.
        layout: how the data set lies in `root`.
        leave_out: names of pictures that the cache need not hold, or a file of them.
        size: stored (height, width); activations of another size are area-averaged. None: the source's choice.
        segmenter: what made the activations, in words; for people, in no digest. What the source is said to have lost
            before, as an export of storage `top_k` is, stands behind them.
        shard_images: images a shard, fewer where they would pass 256 MiB.
        compression: of the shards; see `cache.format`. It changes no activation and no digest of them.
        class_table: what the activations are of (`spec.class_table.settled_table`); None: what the source says, or
            the 19.
        top_k: activations stored of each pixel, the largest; None: all. What is dropped is noted.
        replace: a cache of another segmenter, size or compression gives way.
        progress: called with the number of images done and of all.

    Raises:
        CacheError: a source that lacks something or is broken, sizes that differ, a cache that would have to give way,
            a full disk.
        DataError: the data set is broken.
    """
    segmenter = with_lost(segmenter, Path(source))
    reader = open_source(Path(source), None if class_table is None else asked_table(class_table))
    data = open_layout(Path(root), layout, leave_out)
    chosen, is_held = cities_to_plan(Path(out), data, chosen_cities(reader, data, cities), segmenter, reader)
    plan = make_plan(reader, data, chosen, size, shard_images, compression, may_hold_more=is_held, top_k=top_k)
    if not replace and not is_built(plan, Path(out), segmenter):
        held = would_replace(plan, Path(out), segmenter)
        if held is not None:
            raise CacheError(out, SAME_KIND, held, "Name another folder, or add --replace.")
    return build(reader, plan, Path(out), segmenter, progress)


def asked_table(class_table: str | Names) -> ClassTable:
    """The table that a command line asks for.

    Raises:
        CacheError: there is none of that name, or the file holds none.
    """
    try:
        return table_of(settled_table(class_table))
    except RuleError as error:
        raise CacheError("--class-table", error.fault, error.value, error.remedy) from None
