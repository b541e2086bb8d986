"""What the GPUs that kernels are compiled for can hold, and how much of it a kernel fills.

Limits: CUDA C++ Programming Guide 13.0, "Technical Specifications per Compute Capability". A block
can use 1 KiB less shared memory than a multiprocessor has: CUDA reserves that much for each block
from compute capability 8.0 on (CUDA Best Practices Guide, "Shared Memory").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.errors import UsageError

KIB = 1024
WARP_SIZE = 32
REGISTERS = 65536  # 32-bit registers of a multiprocessor, on every architecture here

# Allocation units, from the occupancy calculator of Nsight Compute.
REGISTER_UNIT = 256  # registers, per warp
WARP_UNIT = 4  # warps: one per scheduler
SHARED_UNIT = 128  # bytes

# What keeps more blocks from being resident; warps are all there where nothing else does.
Limit = Literal["warps", "blocks", "registers", "shared memory"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Limits of one compute capability, per multiprocessor unless it says otherwise; bytes."""

    name: str
    warps: int
    blocks: int
    shared: int
    shared_per_block: int
    shared_reserved: int = KIB

    @property
    def capability(self) -> int:
        """The compute capability as Triton writes it: 90 for 9.0."""
        return int(self.name.removeprefix("sm_"))

    def occupancy(self, registers: int, shared: int, num_warps: int) -> float:
        """The share of the warps that can be resident at once; 0 if not even one block fits.

        `registers` per thread, `shared` bytes per block, `num_warps` per block.
        """
        blocks = min(self._resident(registers, shared, num_warps).values())
        return blocks * num_warps / self.warps

    def limit(self, registers: int, shared: int, num_warps: int) -> Limit:
        """What keeps that from being more; of several, one that no kernel can change."""
        resident = self._resident(registers, shared, num_warps)
        return min(resident, key=lambda name: resident[name])

    def _resident(self, registers: int, shared: int, num_warps: int) -> dict[Limit, int]:
        """How many blocks fit at once by each limit alone."""
        registers_per_warp = _round_up(registers * WARP_SIZE, REGISTER_UNIT)
        warps_by_registers = _round_down(REGISTERS // max(1, registers_per_warp), WARP_UNIT)
        shared_per_block = _round_up(shared + self.shared_reserved, SHARED_UNIT)
        return {
            "warps": self.warps // num_warps,
            "blocks": self.blocks,
            "registers": warps_by_registers // _round_up(num_warps, WARP_UNIT),
            "shared memory": self.shared // max(1, shared_per_block)
            if shared <= self.shared_per_block
            else 0,
        }


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _round_down(value: int, unit: int) -> int:
    return value // unit * unit


def _data(name: str, warps: int, blocks: int, shared_kib: int) -> Architecture:
    return Architecture(
        name=name,
        warps=warps,
        blocks=blocks,
        shared=shared_kib * KIB,
        shared_per_block=(shared_kib - 1) * KIB,
    )


_TURING = Architecture(
    name="sm_75",
    warps=32,
    blocks=16,
    shared=64 * KIB,
    shared_per_block=64 * KIB,
    shared_reserved=0,
)
ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        _TURING,  # T4
        _data("sm_80", 64, 32, 164),  # A100
        _data("sm_86", 48, 16, 100),  # RTX 30, A10
        _data("sm_89", 48, 24, 100),  # RTX 40, L40
        _data("sm_90", 64, 32, 228),  # H100, H200
        _data("sm_100", 64, 32, 228),  # B200
        _data("sm_120", 48, 24, 100),  # RTX 50
    )
}


def architecture(name: str) -> Architecture:
    """The architecture called `sm_90`, or `90`.

    Raises:
        UsageError: a name that isn't known.
    """
    known = ARCHITECTURES.get(f"sm_{name.removeprefix('sm_')}")
    if known is None:
        raise UsageError(f"unknown target {name!r}", hint=f"known are {', '.join(ARCHITECTURES)}")
    return known
