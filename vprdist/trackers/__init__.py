"""Trackers: what a sweep has on the disk is sent on to Weights & Biases, MLflow, TensorBoard, trackio, and others."""
