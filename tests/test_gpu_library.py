"""On a GPU: what the library promises of every op that only a GPU shows. In a CUDA graph, for many
token counts, without waiting for the GPU, on another GPU, sharded over several.

`pytest -m gpu tests/test_gpu_library.py -rs` says what was left out, as on a machine with one GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest
import torch
from triton import knobs
from whole_library import (
    COUNTS,
    ENDS,
    FEW,
    OPS,
    alike,
    check_checkpoint,
    compilations,
    find,
    train_sharded,
)

from workbench_kernels import testing

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]


@pytest.mark.parametrize("name", OPS)
def test_a_cuda_graph_replays_on_other_values(name: str) -> None:
    """Other rows are ignored then, too."""
    op = find(name)
    inputs, others = op.draw(), op.draw(seed=1)
    upstream = op.upstream(inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is compiled and set up by the first call
        op.step(inputs, upstream)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = op.step(inputs, upstream)
    for memory, values in zip(inputs, others, strict=True):
        memory.copy_(values)
    for result in captured.values():
        result.fill_(7)
    graph.replay()
    torch.cuda.synchronize()
    alike(op, captured, op.step(others, upstream))


@contextmanager
def compiled_kernels() -> Iterator[list[str]]:
    """The kernels that Triton compiles, or takes from its files, within the context."""
    names: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            knobs.runtime, "jit_post_compile_hook", lambda *, fn, **_: names.append(fn.name)
        )
        yield names


@pytest.mark.parametrize("name", OPS)
def test_a_hundred_token_counts_need_the_kernels_of_two(name: str) -> None:
    """As in test_library.py, with the addresses that tensors have."""
    op = find(name)
    with compiled_kernels() as compiled:
        for counts in (ENDS, (*FEW, *COUNTS)):
            known = len(compiled)
            for rows in counts:
                inputs = op.draw(rows)
                op.step(inputs, op.upstream(inputs))
    assert not compiled[known:]


def test_what_is_compiled_is_seen() -> None:
    """So the test above sees kernels where there are some: of a width that no other test has."""
    op = find(OPS[0])
    inputs = testing.draw(op.spec, 3, 77, torch.float32)
    with compiled_kernels() as compiled:
        op.step(inputs, op.upstream(inputs))
    assert compiled


@pytest.mark.parametrize("name", OPS)
def test_a_hundred_token_counts_are_compiled_twice(name: str) -> None:
    """By PyTorch: for the first count, then for any."""
    assert compilations(find(name), [2 + count % 97 for count in COUNTS], nullcontext) == 2


@contextmanager
def never_waiting() -> Iterator[None]:
    """Whatever waits for the GPU raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", OPS)
def test_never_waits_for_the_gpu(name: str) -> None:
    op = find(name)
    inputs = op.draw()
    upstream = op.upstream(inputs)
    op.step(inputs, upstream)  # whatever happens once
    with never_waiting():
        op.step(inputs, upstream)


def test_only_to_leave_ignored_rows_out_it_waits() -> None:
    """So the test above sees who waits."""
    compacting = [op for op in map(find, OPS) if "compact" in op.options]
    assert compacting
    for op in compacting:
        inputs = op.draw()
        upstream = op.upstream(inputs)
        compact = partial(op.function, compact=True)
        op.step(inputs, upstream, compact)
        with never_waiting(), pytest.raises(RuntimeError, match="synchroniz"):
            op.step(inputs, upstream, compact)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU: none that is not current")
@pytest.mark.parametrize("name", OPS)
def test_on_a_gpu_that_is_not_the_current_one(name: str) -> None:
    op = find(name)
    inputs = op.draw()
    upstream = op.upstream(inputs)
    wanted = op.step(inputs, upstream)
    there = [t.to("cuda:1") for t in inputs]
    got = op.step(there, [None if dy is None else dy.to("cuda:1") for dy in upstream])
    assert torch.cuda.current_device() == 0
    assert {value.device.index for value in got.values()} == {1}
    alike(op, {result: value.to("cuda:0") for result, value in got.items()}, wanted)


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("name", OPS)
def test_under_a_checkpoint(name: str, use_reentrant: bool) -> None:
    check_checkpoint(find(name), use_reentrant=use_reentrant)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    print(f"sharded over {min(2, torch.cuda.device_count())} GPUs")
    torch.cuda.empty_cache()  # the ranks are other processes
    return train_sharded(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", OPS)
def test_sharded_modules_learn_what_whole_ones_do(name: str, sharded: dict[str, list[str]]) -> None:
    assert not sharded[name], "\n".join(sharded[name])
