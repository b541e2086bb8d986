"""Types with notes (`Annotated`), imports for type checkers only, a TypedDict of launch options
that is spread, versions unpacked from a generator, checks by torch.
"""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "from typing import TYPE_CHECKING, Annotated, Any, TypedDict\n",
        ),
        (
            "from workbench_kernels.partials import add_parts\n",
            '''\
from workbench_kernels.partials import add_parts

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch._prims_common import ShapeType

MAJOR, MINOR = (int(part) for part in triton.__version__.split(".")[:2])
Rows = Annotated[int, "> 0"]


class Options(TypedDict, total=False):
    """What a launch is given by name."""

    BLOCK_ROWS: int
    BLOCK_COLS: int
    num_warps: int
    num_stages: int


def _options(n_cols: Annotated[int, "> 0"], *, deep: bool = MAJOR >= 3) -> Options:
    tile = row_tile(n_cols, FORWARD)
    options = Options(BLOCK_ROWS=tile.block_rows, BLOCK_COLS=tile.block_cols)
    options["num_warps"] = tile.num_warps
    return options | {"num_stages": 2} if deep else options


def _rows(shape: "ShapeType", scale: "npt.NDArray | None" = None) -> Rows:
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows
''',
        ),
        (
            """\
    n_rows = x.numel() // n_cols
    y = torch""",
            """\
    n_rows = _rows(x.shape)
    options = _options(n_cols)
    y = torch""",
        ),
        (
            """\
    tile = row_tile(n_cols, FORWARD)
    grid = (triton.cdiv(n_rows, tile.block_rows),)
""",
            '    grid = (triton.cdiv(n_rows, options["BLOCK_ROWS"]),)\n',
        ),
        (
            """\
            n_cols,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return y, rstd
""",
            """\
            n_cols,
            **options,
        )
    return y, rstd
""",
        ),
    ],
    "wrapper.py": [
        (
            '    check("rms_norm", x=x, weight=weight)\n',
            '    check("rms_norm", x=x, weight=weight)\n    torch._check_value(eps >= 0)\n',
        ),
    ],
}
