"""A sweep is started, driven to its end, and put down."""
