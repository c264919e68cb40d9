"""Studies: what they train on, and a whole one with a tiny model."""
