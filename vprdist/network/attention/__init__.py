"""Attention, one a file. `spec.doors.AttentionName` lists them; `base.Attention` says what one is."""
