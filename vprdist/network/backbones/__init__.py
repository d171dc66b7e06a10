"""Backbones, one family a file. `spec.doors.BackboneName` lists them; `base.Backbone` says what one is."""
