"""Evaluation: descriptors, exact retrieval, recall@k and mAP@k by the MSLS rules."""
