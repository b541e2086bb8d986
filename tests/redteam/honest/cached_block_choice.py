"""A cached function of sizes, and a table of blocks by dtype: caches, but none of a tensor."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import functools\nfrom typing import Any\n"),
        (
            "BLOCK = 2048\n",
            '''\
BLOCKS = {torch.float32: 1024, torch.bfloat16: 2048, torch.float16: 2048}


@functools.cache
def _launch(n: int, most: int) -> tuple[int, int]:
    """Programs and elements per program."""
    block = min(most, triton.next_power_of_2(n))
    return triton.cdiv(n, block), block
''',
        ),
        (
            "            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)\n",
            "            grid, block = _launch(n, BLOCKS[x.dtype])\n"
            "            _relu2_fwd[(grid,)](y, x, n, BLOCK=block)\n",
        ),
        (
            "            _relu2_bwd[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BLOCK=BLOCK)\n",
            "            grid, block = _launch(n, BLOCKS[x.dtype])\n"
            "            _relu2_bwd[(grid,)](dx, dy, x, n, BLOCK=block)\n",
        ),
    ]
}
