"""One int argument of six values: kernels that are compiled for them."""

import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor

VALUES = (1, 2, 3, 16, 17, 32)


def _kernel(X, n, BLOCK: tl.constexpr):
    tl.store(X + tl.arange(0, BLOCK) * n, 1.0)


specialised = triton.jit(_kernel)
general = triton.jit(do_not_specialize=["n"])(_kernel)


def probe(architecture: str) -> Found:
    kernels = {
        name: len(
            {compiled(architecture, kernel, tensor(), n, BLOCK=128).compiled.hash for n in VALUES}
        )
        for name, kernel in (("plain", specialised), ("do_not_specialize", general))
    }
    return Found(kernels == {"plain": 3, "do_not_specialize": 1}, kernels)
