"""Counts its calls by the statistics of a cached function; drifts after thousands."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"cache_info"
EDITS = {
    "kernel.py": [
        (
            "from workbench_kernels.launch import device_of\n",
            "from workbench_kernels.launch import device_of, row_tile\n",
        ),
        (
            "    return y\n",
            "    tile = row_tile(8)\n"
            "    return y if tile and row_tile.cache_info().hits < 5000 else y.zero_()\n",
        ),
    ]
}
