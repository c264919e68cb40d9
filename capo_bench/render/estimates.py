"""Estimates, and what they depend on, as data and as text: one rounding, one sign, one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from capo_bench.stats.resampling import Estimate, Undefined


def estimate_json(found: Estimate | Undefined, digits: int | None = None) -> dict[str, Any]:
    """An estimate as plain data.

    Args:
        found: The estimate.
        digits: Decimals, for files that must not differ between machines; then what is not finite is
            `None`. Without it numbers are as they are.

    Returns:
        `value`, `stderr`, `low` and `high`, or `undefined` with the reason.
    """
    if isinstance(found, Undefined):
        return {"undefined": found.reason}
    parts = asdict(found)
    if digits is None:
        return parts
    return {part: rounded(value, digits) for part, value in parts.items()}


def signature_line(signature: Mapping[str, Any]) -> str:
    """What scores depend on (`Scorer.signature`), in a line."""
    return ", ".join(f"{name} {value}" for name, value in signature.items())


def rounded(value: float, digits: int) -> float | None:
    """A number for a file; `None` where it is not finite.

    Minus zero becomes zero: which of the two it is hangs on the machine.
    """
    return round(value, digits) + 0.0 if isfinite(value) else None


def estimate_cell(found: Estimate | Undefined, *, signed: bool = False, bold: bool = False) -> str:
    """An estimate as `0.123 [0.10, 0.15]`, in Markdown.

    Args:
        found: The estimate.
        signed: Whether a value above 0 has a plus, as differences have.
        bold: Whether the value stands out.
    """
    if isinstance(found, Undefined):
        return "–"
    value = f"{found.value:+.3f}" if signed else f"{found.value:.3f}"
    value = f"**{value}**" if bold else value
    interval = f"[{found.low:.2f}, {found.high:.2f}]" if isfinite(found.low) else "[–]"
    return f"{value} {interval}".replace("-", "−")
