"""A package, so that its tests may share helpers and bear names that other rooms' tests have too."""
