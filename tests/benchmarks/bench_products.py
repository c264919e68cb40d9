"""Rates of the routines that multiply a Llama's matrices on this processor, one thread.

    python tests/benchmarks/bench_products.py [--rows 16 271]

The shapes are SmolLM2-135M's (without the head, with its number of layers, so that weights come from
memory as in a model). `numpy's` is the routine that numpy comes with, OpenBLAS; `rounded` is oneDNN's
float32 product on operands rounded to bfloat16: three of them, on sums of rounded parts, would make
one product that is exact to 1e-5.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

SHAPES = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
LAYERS = 30
ROUNDS = 4


def main() -> None:
    """Prints a line a number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 271])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weights = [torch.randn(shape) for _ in range(LAYERS) for shape in SHAPES]
    half = [weight.bfloat16() for weight in weights]
    one_dnn = torch.ops.mkldnn
    for rows in options.rows:
        inputs = {size: torch.randn(rows, size) for size in (576, 1536)}
        halves = {size: x.bfloat16() for size, x in inputs.items()}
        laid_out = [one_dnn._reorder_linear_weight(weight, rows) for weight in weights]

        def by_one_dnn(x: Tensor, weight: Tensor) -> Tensor:
            return one_dnn._linear_pointwise(x, weight, None, "none", [], "")  # type: ignore[no-any-return]

        def by_numpy(x: Tensor, weight: Tensor) -> Tensor:
            return torch.from_numpy(np.dot(x.numpy(), weight.numpy().T))

        rates = {
            "MKL": rate(linear, inputs, weights, weights),
            "oneDNN": rate(by_one_dnn, inputs, weights, weights),
            "oneDNN, weights laid out for it": rate(by_one_dnn, inputs, laid_out, weights),
            "numpy's": rate(by_numpy, inputs, weights, weights),
            "bfloat16": rate(linear, halves, half, weights),
        }
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        rates["rounded"] = rate(linear, inputs, weights, weights)
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"
        shown = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in rates.items())
        print(f"{rows} rows, GFLOP/s: {shown}")


def rate(
    product: Callable[[Tensor, Tensor], Tensor],
    inputs: dict[int, Tensor],
    given: list[Tensor],
    weights: list[Tensor],
) -> float:
    """Floating-point operations a CPU second, the best of some rounds."""
    rows = len(inputs[576])
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for weight, laid_out in zip(weights, given, strict=True):
            product(inputs[weight.shape[1]], laid_out)
        best = min(best, time.process_time() - start)
    return 2 * rows * sum(weight.numel() for weight in weights) / best


if __name__ == "__main__":
    main()
