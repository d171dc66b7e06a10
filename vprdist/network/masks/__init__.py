"""Masks that are learnt, one a file. `spec.doors.MaskName` lists them; `base.Mask` says what one is."""
