"""Corpora: what they are, how they are read, split and described."""
