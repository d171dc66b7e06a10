"""Ranks of one job: how they meet, and what they exchange."""
