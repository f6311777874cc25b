"""Times of what jax computes, and the rate of matrix products that they stand beside."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def seconds(run: Callable[[], Any], repeats: int) -> list[float]:
    """Wall times of `repeats` finished runs after one warm-up."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - begin)
    return times


def matmul_gflops(size: int = 512, products: int = 100) -> float:
    """GFLOP/s of float32 products of size x size matrices in XLA."""
    x = jnp.ones((size, size))
    chain = jax.jit(lambda x: jax.lax.fori_loop(0, products, lambda _, y: (x @ y) / size, x))
    return products * 2 * size**3 / np.median(seconds(lambda: chain(x), 7)) / 1e9
