"""Types, constants and words in plenty: a named tuple of sizes, an enum, an `__all__`, warnings."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "import enum\nimport math\nfrom typing import Any, Final, NamedTuple\n",
        ),
        (
            "@triton.jit\ndef _rms_norm_fwd(",
            '''\
__all__ = ["rms_norm", "rms_norm_backward"]

ROW_DIM: Final = -1


class Gradient(enum.IntEnum):
    """Which entry of `needs` is whose."""

    X = 0
    WEIGHT = 1


class Sizes(NamedTuple):
    """Rows and columns of a tensor seen as a matrix."""

    rows: int
    cols: int


def _sizes(x: Tensor) -> Sizes:
    cols = x.shape[ROW_DIM]
    return Sizes(math.prod(x.shape[:ROW_DIM]), cols)


@triton.jit
def _rms_norm_fwd(''',
        ),
        (
            "    n_cols = x.shape[-1]\n    n_rows = x.numel() // n_cols\n    y = ",
            "    n_rows, n_cols = _sizes(x)\n    y = ",
        ),
        (
            "    n_cols = x.shape[-1]\n    n_rows = x.numel() // n_cols\n    dx = ",
            "    n_rows, n_cols = _sizes(x)\n    dx = ",
        ),
        ("if needs[0] else None", "if needs[Gradient.X] else None"),
        ("if needs[1] else None", "if needs[Gradient.WEIGHT] else None"),
    ]
}
