"""Triton's CPU interpreter, made to compute what a GPU computes.

The stock interpreter is wrong about bfloat16 (it does integer arithmetic on the bits), truncates
where a GPU rounds, and differs in Python scalars, NaN in minima and maxima, and more; most of it
silently. `enable()` mends that in the running process. It changes Triton's internals, so it ends
with a self-test that compares small kernels with PyTorch bit for bit, and refuses to go on if one
differs.

What stays different from a GPU: programs run one after another, so races are invisible but for the
order, another one in every launch; a * b + c is not fused; `tl.dot` of float32 is not rounded to
TF32; transcendental functions are NumPy's.
"""

from __future__ import annotations

import os
import warnings
from functools import cache

TRIED = ((3, 6), (3, 7), (3, 8), (3, 9))


@cache
def enable() -> None:
    """Mend the interpreter in this process; a second call does nothing.

    Warns:
        RuntimeWarning: a Triton version nobody tried this with.

    Raises:
        RuntimeError: TRITON_INTERPRET=1 was not set when Triton was imported; a self-test failed.
    """
    _check_environment()
    from workbench.interpreter import (
        autotune,
        bfloat16,
        language,
        libdevice,
        memory,
        reductions,
        speed,
    )

    _check_version()
    language.install()
    bfloat16.install()
    reductions.install()
    libdevice.install()
    autotune.install()
    speed.install()
    memory.install()
    self_test()


def self_test() -> None:
    """Compare small kernels with PyTorch, bit for bit, in well under a second.

    Raises:
        RuntimeError: naming every behaviour that is wrong.
    """
    from workbench.interpreter import selftest

    wrong = selftest.failures()
    if wrong:
        raise RuntimeError("the interpreter does not compute what a GPU does: " + "; ".join(wrong))


def _check_environment() -> None:
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError("TRITON_INTERPRET=1 is not set; set it before Triton is imported")
    import triton.language as tl
    from triton.runtime.interpreter import InterpretedFunction

    # Triton reads the variable whenever @triton.jit runs: for its own library, when it is imported.
    if not isinstance(tl.zeros, InterpretedFunction):
        raise RuntimeError("Triton was imported before TRITON_INTERPRET=1 was set")


def _check_version() -> None:
    import triton

    if tuple(int(part) for part in triton.__version__.split(".")[:2]) not in TRIED:
        tried = ", ".join(f"{major}.{minor}" for major, minor in TRIED)
        warnings.warn(
            f"Triton {triton.__version__} has not been tried in the interpreter (tried: {tried}); "
            "the self-test decides",
            RuntimeWarning,
            stacklevel=3,
        )
