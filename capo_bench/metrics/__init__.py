"""Metrics of annotator faithfulness, one family a file."""
