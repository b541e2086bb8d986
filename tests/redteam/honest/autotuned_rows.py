"""A reduction autotuned over rows per program, with pruning by a function of the width."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            "@triton.jit\ndef _rms_norm_fwd(",
            '''\
def _fitting(configs: list[Any], named_args: dict[str, Any], **options: Any) -> list[Any]:
    """Tiles of at most 8192 elements, or the smallest there is."""
    width = options["BLOCK_COLS"]
    return [c for c in configs if c.kwargs["BLOCK_ROWS"] * width <= 8192] or configs[:1]


@triton.autotune(
    configs=[triton.Config({"BLOCK_ROWS": rows}, num_warps=4) for rows in (1, 4, 16)],
    key=["n_rows", "n_cols"],
    prune_configs_by={"early_config_prune": _fitting},
)
@triton.jit
def _rms_norm_fwd(''',
        ),
        (
            "    tile = row_tile(n_cols, FORWARD)\n"
            "    grid = (triton.cdiv(n_rows, tile.block_rows),)\n",
            "    tile = row_tile(n_cols, FORWARD)\n",
        ),
        (
            "        _rms_norm_fwd[grid](",
            '        _rms_norm_fwd[lambda meta: (triton.cdiv(n_rows, meta["BLOCK_ROWS"]),)](',
        ),
        (
            """\
            eps,
            n_rows,
            n_cols,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
""",
            """\
            eps,
            n_rows,
            n_cols,
            BLOCK_COLS=tile.block_cols,
""",
        ),
    ]
}
