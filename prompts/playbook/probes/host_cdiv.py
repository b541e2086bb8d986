"""A number of blocks by Triton's function and by a division: microseconds a call, the quickest of
many."""

import triton

from workbench.playbook.probe import Found, quickest


def probe(architecture: str) -> Found:
    ways = {"triton.cdiv": triton.cdiv, "a division": lambda number, size: -(-number // size)}
    best = quickest(ways, 1000, 7)
    holds = best["triton.cdiv"] >= 10 * best["a division"]
    return Found(holds, {name: round(micros, 3) for name, micros in best.items()})
