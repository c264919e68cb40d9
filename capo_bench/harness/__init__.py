"""The glue to lm-evaluation-harness."""
