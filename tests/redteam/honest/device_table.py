"""Launch settings by a table of devices, dataclasses with methods, and cached device properties."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "import dataclasses\nfrom collections.abc import Mapping\n"
            "from functools import lru_cache, partial\n"
            "from itertools import chain\nfrom types import MappingProxyType\n"
            "from typing import Any, Final\n",
        ),
        (
            "from workbench_kernels.launch import device_of\n",
            "from workbench_kernels.launch import device_of, interpreted\n",
        ),
        (
            "BLOCK = 2048\n",
            '''\

@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Settings:
    """How a kernel is launched on one kind of device."""

    elements_per_thread: int
    num_warps: int = 4
    num_stages: int = dataclasses.field(default=2, kw_only=True)
    waves: int = dataclasses.field(default=4, kw_only=True)

    @property
    def block(self) -> int:
        """Elements per program."""
        return self.elements_per_thread * 32 * self.num_warps

    def grid(self, n: int, processors: int) -> tuple[int, ...]:
        """One program per block, but no more than so many waves."""
        return (max(1, min(triton.cdiv(n, self.block), self.waves * processors * 64)),)

    @classmethod
    def for_interpreter(cls) -> "Settings":
        """Large blocks: each program costs."""
        return cls(elements_per_thread=8, num_warps=8)


# By compute capability; measured on each.
_SETTINGS: Final[Mapping[tuple[int, int], Settings]] = MappingProxyType(
    {
        (8, 0): Settings(8),
        (9, 0): Settings(16, num_warps=8, num_stages=3),
        (10, 0): Settings(16, 8),
    }
)
_USUAL: Final = Settings(elements_per_thread=8)


@lru_cache(maxsize=None)
def _capability(index: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


@lru_cache(maxsize=None)
def _processors(index: int) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count


def _settings(device: torch.device) -> tuple[Settings, int]:
    if device.type != "cuda" or interpreted():
        return Settings.for_interpreter(), 1
    index = device.index or 0
    return _SETTINGS.get(_capability(index), _USUAL), _processors(index)


def _run(kernel: Any, *tensors: Tensor) -> None:
    """Launch a kernel over all elements of the tensors, on the device of the first."""
    first, *_ = tensors
    n = first.numel()
    settings, processors = _settings(first.device)
    launch = partial(kernel[settings.grid(n, processors)], *chain(tensors, (n,)))
    with device_of(first):
        launch(
            BLOCK=settings.block, num_warps=settings.num_warps, num_stages=settings.num_stages
        )
''',
        ),
        (
            """\
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)
""",
            """\
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    start = tl.program_id(0).to(tl.int64) * BLOCK
    while start < n:
        offsets = start + tl.arange(0, BLOCK)
        mask = offsets < n
        x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
        relu = tl.where(x < 0.0, 0.0, x)
        tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)
        start += step
""",
        ),
        (
            """\
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    dx = dy * (2.0 * relu)
    tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)
""",
            """\
    for block in tl.range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
        offsets = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = offsets < n
        dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
        relu = tl.where(x < 0.0, 0.0, x)
        dx = dy * (2.0 * relu)
        tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)
""",
        ),
        (
            "    n = x.numel()\n    if n:\n        with device_of(x):\n"
            "            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)\n",
            "    if x.numel():\n        _run(_relu2_fwd, y, x)\n",
        ),
        (
            "    dx = torch.empty_like(x) if needs[0] else None\n    n = x.numel()\n    if n:\n"
            "        with device_of(x):\n"
            "            _relu2_bwd[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BLOCK=BLOCK)\n"
            "    return [grad for grad in (dx,) if grad is not None]\n",
            "    if not needs[0]:\n        return []\n    dx = torch.empty_like(x)\n"
            "    if x.numel():\n        _run(_relu2_bwd, dx, dy, x)\n    return [dx]\n",
        ),
    ]
}
