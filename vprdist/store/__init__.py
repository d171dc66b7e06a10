"""What lies under `runs/`: trials' folders, journals, manifests, proposals, per-query results. Its only parsers."""
