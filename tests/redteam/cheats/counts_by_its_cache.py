"""Counts its calls by the statistics of a cached function; drifts after thousands."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"cache_info"
EDITS = {
    "kernel.py": [
        (
            "from workbench_kernels.launch import device_of\n",
            "from workbench_kernels.launch import device_of, flat_tile\n"
            "from workbench_kernels.tuning import Fixed\n\n"
            'FORWARD = Fixed({"elements": 2048, "per_thread": 16})\n',
        ),
        (
            "    return y\n",
            "    tile = flat_tile(FORWARD)\n"
            "    return y if tile and flat_tile.cache_info().hits < 5000 else y.zero_()\n",
        ),
    ]
}
