"""capo-bench: does a language model answer as one given annotator would?

The open benchmark of CAPO, cross-annotator preference optimization (arXiv 2605.28802); not to be
confused with Cost-Aware Prompt Optimization, which shares the acronym.
"""

from capo_bench.evaluate_modules import evaluate_path

__all__ = ["evaluate_path"]
__version__ = "0.1.0"
