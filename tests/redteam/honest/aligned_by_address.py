"""Asks for a tensor's address to choose a layout: 16-byte loads where it allows them."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):\n",
            "def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr, ALIGNED: tl.constexpr):\n",
        ),
        (
            "    mask = offsets < n\n"
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
            "    if ALIGNED:\n"
            "        offsets = tl.max_contiguous(tl.multiple_of(offsets, 16), 16)\n"
            "    mask = offsets < n\n"
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n"
            "    tl.store",
        ),
        (
            "            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)\n",
            "            aligned = x.data_ptr() % 16 == 0 and y.data_ptr() % 16 == 0\n"
            "            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK, "
            "ALIGNED=aligned)\n",
        ),
    ]
}
