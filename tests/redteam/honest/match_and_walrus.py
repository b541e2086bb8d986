"""Newer Python: `match` on dtypes and shapes, walrus, positional-only and keyword-only parameters,
PEP 604 unions, `assert_never`, starred subscripts.
"""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "from typing import Any, Literal, TypeAlias, assert_never\n"),
        (
            "def forward(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:\n",
            '''\
Kind: TypeAlias = Literal["scalar", "row", "matrix", "more"]


def _kind(shape: torch.Size, /) -> Kind:
    match len(shape):
        case 0:
            return "scalar"
        case 1:
            return "row"
        case 2:
            return "matrix"
        case _:
            return "more"


def _matrix(x: Tensor, /, *, kind: Kind | None = None) -> tuple[int, int]:
    """Rows and columns of a tensor of any number of dimensions."""
    match kind or _kind(x.shape):
        case "scalar":
            raise ValueError("rms_norm: a scalar has no rows")
        case "row":
            return 1, x.shape[0]
        case "matrix":
            rows, cols = x.shape
            return rows, cols
        case "more":
            *_, cols = x.shape
            return x.numel() // cols, cols
        case unknown:
            assert_never(unknown)


def _warps(elements: int) -> int:
    if (warps := elements // 512) <= 1:
        return 1
    return min(warps, 16)


def forward(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
''',
        ),
        (
            "    n_cols = x.shape[-1]\n    n_rows = x.numel() // n_cols\n    y = ",
            "    n_rows, n_cols = _matrix(x)\n    y = ",
        ),
        (
            "    n_cols = x.shape[-1]\n    n_rows = x.numel() // n_cols\n    dx = ",
            "    n_rows, n_cols = _matrix(x)\n    dx = ",
        ),
        (
            "            BLOCK_COLS=tile.block_cols,\n            num_warps=tile.num_warps,\n"
            "        )\n    return y, rstd\n",
            "            BLOCK_COLS=tile.block_cols,\n"
            "            num_warps=_warps(tile.block_rows * tile.block_cols),\n"
            "        )\n    return y, rstd\n",
        ),
    ],
    "wrapper.py": [
        (
            '    check("rms_norm", x=x, weight=weight)\n',
            """\
    match x.dtype:
        case torch.float32 | torch.bfloat16 | torch.float16:
            check("rms_norm", x=x, weight=weight)
        case other:
            raise TypeError(f"rms_norm: x is {other}; served are float32, bfloat16 and float16")
""",
        ),
    ],
}
