"""What proposes: one file a method, named by its `target` in `spec.methods`."""
