"""Makes `--model capo-hf` known to lm_eval, which imports it only where it is asked for."""

from __future__ import annotations

import lm_eval.models  # noqa: F401
from lm_eval.api.registry import model_registry

LEAN = "capo-hf"

# Beside lm_eval's own models, which are registered by the import above and by nothing else later.
model_registry.register(LEAN, target="capo_bench.harness.model:SharedPrefixLM")
