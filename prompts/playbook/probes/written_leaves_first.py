"""Rows that are read twice, as a softmax of 65536 columns reads them: milliseconds with and without
the hint, the median of graphs replayed in turn."""

import statistics

import torch
import triton
import triton.language as tl

from workbench.playbook.probe import Found

ROWS, COLS, BLOCK = 4096, 65536, 16384


@triton.jit
def scaled(Y, X, n_cols, BLOCK: tl.constexpr, HINT: tl.constexpr):
    X += tl.program_id(0).to(tl.int64) * n_cols
    Y += tl.program_id(0).to(tl.int64) * n_cols
    top = tl.full([BLOCK], 0.0, tl.float32)
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        top = tl.maximum(top, tl.load(X + cols, eviction_policy="evict_last").to(tl.float32))
    share = 1.0 / tl.max(top, axis=0)
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        y = tl.load(X + cols, eviction_policy="evict_first").to(tl.float32) * share
        tl.store(Y + cols, y.to(Y.dtype.element_ty), eviction_policy=HINT)


def graph(x: torch.Tensor, y: torch.Tensor, hint: str) -> torch.cuda.CUDAGraph:
    def launch() -> None:
        scaled[(ROWS,)](y, x, COLS, BLOCK=BLOCK, HINT=hint, num_warps=16)

    launch()
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        launch()
    return captured


def probe(architecture: str) -> Found:
    x = torch.rand(ROWS, COLS, device="cuda", dtype=torch.bfloat16)
    y = torch.empty_like(x)
    graphs = {"without": graph(x, y, ""), "with the hint": graph(x, y, "evict_first")}
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(30):
        for name, captured in graphs.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            captured.replay()
            begin.record()
            captured.replay()
            end.record()
            torch.cuda.synchronize()
            times[name].append(begin.elapsed_time(end))
    middle = {name: statistics.median(each) for name, each in times.items()}
    holds = middle["without"] >= 1.02 * middle["with the hint"]
    return Found(holds, {name: round(millis, 4) for name, millis in middle.items()})
