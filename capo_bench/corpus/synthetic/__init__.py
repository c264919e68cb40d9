"""Corpora whose annotators are made: their true behaviour is known, so that scores can be checked."""
