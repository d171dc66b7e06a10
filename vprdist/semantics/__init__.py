"""What each pixel shows: activations of classes (`spec.class_table`), their Arrow cache, and the masks made of them.

`importing.import_cache` fills a cache, `cache.open_cache` reads it, `masks.reduce_mask` makes a mask of
chosen classes, `segmenters.open_segmenter` opens a network that makes activations, `sheet.write_sheet` draws what a
cache holds. Torch is loaded inside `segmenters` alone, when a network is opened.
"""
