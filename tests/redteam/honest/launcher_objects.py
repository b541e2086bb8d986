"""Objects that launch: a class holds a kernel and its settings, is called with tensors, and two of
them are made at the level of the file.
"""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "from collections.abc import Callable\nfrom typing import Any\n",
        ),
        (
            "def forward(x: Tensor) -> Tensor:\n",
            '''\
class Elementwise:
    """Launches a kernel whose first argument is the output, over all elements."""

    def __init__(self, kernel: Any, *, block: int, options: dict[str, int]) -> None:
        self._kernel = kernel
        self._block = block
        self._options = options

    def grid(self, n: int) -> Callable[[dict[str, Any]], tuple[int]]:
        """The grid, once the block is known."""

        def programs(meta: dict[str, Any]) -> tuple[int]:
            return (triton.cdiv(n, meta["BLOCK"]),)

        return programs

    def __call__(self, like: Tensor, *others: Tensor) -> Tensor:
        like, *rest = (t.contiguous() for t in (like, *others))
        out = torch.empty_like(like)
        if n := out.numel():
            with device_of(out):
                self._kernel[self.grid(n)](
                    out, like, *rest, n, BLOCK=self._block, **self._options
                )
        return out


_FORWARD = Elementwise(_relu2_fwd, block=BLOCK, options={"num_warps": 4})
_BACKWARD = Elementwise(_relu2_bwd, block=BLOCK // 2, options={"num_warps": 4, "num_stages": 1})


def forward(x: Tensor) -> Tensor:
''',
        ),
        (
            """\
    x = x.contiguous()
    y = torch.empty_like(x)
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
    return y
""",
            "    return _FORWARD(x)\n",
        ),
        (
            """\
    x, dy = x.contiguous(), dy.contiguous()
    dx = torch.empty_like(x) if needs[0] else None
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_bwd[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BLOCK=BLOCK)
    return [grad for grad in (dx,) if grad is not None]
""",
            "    return [_BACKWARD(dy, x)] if any(needs) else []\n",
        ),
    ]
}
