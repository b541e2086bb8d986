"""Launch parameters as ops declare them, and the tiles made of them."""

from __future__ import annotations

import ast
import timeit
from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton
from hypothesis import given
from hypothesis import strategies as st

from workbench.authors.draft import DraftAuthor
from workbench.judge.mutants import mutants
from workbench.profile import analyze
from workbench.reference import find
from workbench_kernels import launch
from workbench_kernels.launch import (
    column_tile,
    flat_tile,
    piece_tile,
    programs,
    row_tile,
    stages,
    wide_tile,
)
from workbench_kernels.tuning import CHOICES, NO_LIMIT, ByWidth, Fixed, Table

HELD_ROWS = ByWidth({"elements": 1024, "per_thread": 16}, {8192: {"per_thread": 32}})
ROWS = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {8192: {"per_thread": 32}, 32768: {"elements": 8192}, 65536: {"elements": 16384}},
)
LOOPED_ROWS = ByWidth(
    {"elements": 4096, "per_thread": 16, "stages": 3, "resident": 16}, {16384: {"per_thread": 32}}
)
COLUMNS = ByWidth({"elements": 4096, "per_thread": 32, "columns": 1024})
LOOPED_COLUMNS = ByWidth(
    {"elements": 4096, "per_thread": 32, "columns": 1024, "stages": 3, "resident": 16}
)
FLAT = Fixed({"elements": 2048, "per_thread": 16})


def test_changes_add_up_from_narrow_to_wide() -> None:
    table = ByWidth(
        {"elements": 1024, "per_thread": 16}, {64: {"elements": 256}, 16: {"per_thread": 8}}
    )
    assert table.at(1) == table.at(8) == {"elements": 1024, "per_thread": 16}
    assert table.at(9) == table.at(32) == {"elements": 1024, "per_thread": 8}
    assert table.at(33) == table.at(2**40) == {"elements": 256, "per_thread": 8}


def test_a_fixed_table_is_the_same_at_every_width() -> None:
    assert FLAT.at(1) == FLAT.at(2**40) == {"elements": 2048, "per_thread": 16}


def test_choices_are_those_of_the_parameters_a_table_has() -> None:
    assert FLAT.choices == {name: CHOICES[name] for name in ("elements", "per_thread")}
    own = Fixed({"block_v": 1024, "stages": 2}, choices={"block_v": (1024, 2048), "stages": (1, 2)})
    assert own.choices == {"block_v": (1024, 2048), "stages": (1, 2)}


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no start": (lambda: ByWidth({"elements": 256}, {64: {"stages": 2}}), "stages changes at 64"),
    "odd width": (lambda: ByWidth({"elements": 256}, {96: {"elements": 512}}), "at 96, which is"),
    "no width": (lambda: ByWidth({"elements": 256}, {0: {"elements": 512}}), "at 0, which is"),
    "zero": (lambda: Fixed({"elements": 0}), "elements is 0"),
    "a float": (lambda: ByWidth({"elements": 256}, {64: {"elements": 0.5}}), "elements is 0.5"),
    "a flag": (lambda: Fixed({"elements": True}), "elements is True"),
    "unknown": (lambda: Fixed({"block_v": 64}), "'block_v'; add choices="),
    "nothing": (lambda: Fixed({"block_v": 64}, choices={"block_v": ()}), "'block_v'; add choices="),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what: str) -> None:
    make, says = REFUSED[what]
    with pytest.raises(ValueError, match=says):
        make()


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        FLAT.at(1)["elements"] = 1  # type: ignore[index]


def test_a_tile_is_made_of_declared_parameters_only() -> None:
    with pytest.raises(TypeError, match="Fixed or ByWidth"):
        row_tile(64, True)  # type: ignore[arg-type]


def test_a_launch_does_not_wait_for_its_parameters() -> None:
    row_tile(4096, ROWS)
    lookup = min(timeit.repeat(lambda: row_tile(4096, ROWS), number=1000, repeat=20)) / 1000
    assert lookup < 1e-6


# The numbers before ops declared them, as they were measured on an H200.


def old_row_tile(n_cols: int, loop: bool) -> tuple[int, int, int]:
    block_cols = triton.next_power_of_2(n_cols)
    block_rows = max(1, min(128, (4096 if loop else 1024) // block_cols))
    elements = block_rows * block_cols
    per_thread = 16 if loop or elements <= 4096 else 32
    most = 16 if elements <= launch.WIDEST_ROW else 32
    return block_rows, block_cols, min(most, max(1, elements // (32 * per_thread)))


def old_column_tile(n_cols: int) -> tuple[int, int, int]:
    block_cols = min(1024, triton.next_power_of_2(n_cols))
    return max(1, 4096 // block_cols), block_cols, 4


def old_wide_tile(n_cols: int) -> tuple[int, int, int]:
    return (1, 8192, 8) if n_cols <= 32768 else (1, 16384, 16)


# Tiles depend on the power of two that holds a width: its ends and some between are all widths.
WIDTHS = sorted({w for p in range(18) for w in (2**p - 1, 2**p, 2**p + 1) if w} | {200_000})


@given(st.one_of(st.sampled_from(WIDTHS), st.integers(1, 200_000)))
def test_what_drafts_declare_gives_the_tiles_that_were_measured(n_cols: int) -> None:
    assert row_tile(n_cols, HELD_ROWS)[:3] == old_row_tile(n_cols, loop=False)
    assert row_tile(n_cols, LOOPED_ROWS)[:3] == old_row_tile(n_cols, loop=True)
    assert column_tile(n_cols, COLUMNS)[:3] == old_column_tile(n_cols)
    assert column_tile(n_cols, LOOPED_COLUMNS)[:3] == old_column_tile(n_cols)
    if n_cols <= launch.WIDEST_ROW:
        assert row_tile(n_cols, ROWS)[:3] == old_row_tile(n_cols, loop=False)
    else:
        assert wide_tile(n_cols, ROWS)[:3] == old_wide_tile(n_cols)
    assert flat_tile(FLAT)[:3] == (1, 2048, 4)


@given(
    st.sampled_from(WIDTHS),
    st.sampled_from([LOOPED_ROWS, LOOPED_COLUMNS]),
    st.integers(0, 5),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(1, 10_000),
    st.integers(1, 300),
)
def test_loops_are_launched_as_they_were_measured(
    n_cols: int, table: Table, loads: int, dtype: torch.dtype, n_rows: int, columns: int
) -> None:
    tile = row_tile(n_cols, table) if table is LOOPED_ROWS else column_tile(n_cols, table)
    buffers = 2 * loads * tile.block_rows * tile.block_cols * dtype.itemsize
    assert stages(tile, loads, dtype) == (3 if buffers <= 96 * 1024 else 1)
    resident = max(1, 16 // tile.num_warps)
    blocks = -(-n_rows // tile.block_rows)
    expected = min(blocks, max(1, resident // columns))
    assert programs(torch.empty(0), n_rows, tile, columns) == expected


PARAMETERS = st.fixed_dictionaries({name: st.integers(1, 70_000) for name in CHOICES})


@given(PARAMETERS, st.integers(1, 200_000))
def test_whatever_is_declared_can_be_launched(parameters: dict[str, int], n_cols: int) -> None:
    table = Fixed(parameters)
    rows, columns = row_tile(n_cols, table), column_tile(n_cols, table)
    assert rows.block_rows <= 128 and rows.block_cols == triton.next_power_of_2(n_cols)
    assert columns.block_rows * columns.block_cols <= parameters["elements"]
    pieces = piece_tile(n_cols, table)
    assert n_cols <= pieces.pieces * pieces.block_cols < n_cols + pieces.block_cols
    assert pieces.pieces <= 8 and pieces.block_rows <= 128
    for tile in (rows, pieces, columns, wide_tile(n_cols, table), flat_tile(table)):
        assert all(side & (side - 1) == 0 for side in tile[:3])
        assert 1 <= tile.num_warps <= 32
        assert (tile.stages, tile.resident) == (parameters["stages"], parameters["resident"])


@pytest.mark.parametrize(
    ("n_cols", "pieces"),
    [
        (100, (1, 128)),
        (1024, (2, 512)),
        (2560, (5, 512)),
        (4096, (2, 2048)),
        (5120, (5, 1024)),
        (7168, (2, 4096)),
        (11008, (3, 4096)),
        (16384, (2, 8192)),
    ],
)
def test_rows_of_any_width_leave_few_lanes_empty(n_cols: int, pieces: tuple[int, int]) -> None:
    tile = piece_tile(n_cols, Fixed({"elements": 4096, "per_thread": 16}))
    assert (tile.pieces, tile.block_cols) == pieces


def test_registers_are_limited_where_a_table_says_so() -> None:
    table = ByWidth(
        {"elements": 1024, "per_thread": 16, "registers": 96}, {256: {"registers": NO_LIMIT}}
    )
    assert piece_tile(128, table).registers == 96
    assert piece_tile(256, table).registers is None
    assert piece_tile(128, HELD_ROWS).registers is None


def test_pieces_are_loaded_ahead_together() -> None:
    tile = piece_tile(5120, LOOPED_ROWS)  # five pieces of 1024, two bytes each
    assert stages(tile, 4, torch.bfloat16) == 3
    assert stages(tile, 5, torch.bfloat16) == 1


DECLARED: dict[str, tuple[Table, Table]] = {
    "relu2": (FLAT, FLAT),
    "rms_norm": (HELD_ROWS, LOOPED_ROWS),
    "softmax": (ROWS, ROWS),
    "bias_gelu": (COLUMNS, LOOPED_COLUMNS),
}  # fmt: skip


def drafted(op: str) -> dict[str, str]:
    reference = find(op)
    files = DraftAuthor().render(analyze(reference, op), reference)
    return {path.name: text for path, text in files.items()}


@pytest.mark.parametrize("op", DECLARED)
def test_a_draft_declares_literals_that_can_be_read_without_running_it(op: str) -> None:
    body = ast.parse(drafted(op)["kernel.py"]).body
    kinds = {"Fixed": Fixed, "ByWidth": ByWidth}
    for name, expected in zip(("FORWARD", "BACKWARD"), DECLARED[op], strict=True):
        (made,) = (
            node.value
            for node in body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
        )
        assert isinstance(made, ast.Call)
        table = kinds[ast.unparse(made.func)](*(ast.literal_eval(arg) for arg in made.args))
        assert type(table) is type(expected)
        assert all(table.at(width) == expected.at(width) for width in WIDTHS)


@pytest.mark.parametrize("op", DECLARED)
def test_no_mutant_is_made_of_a_launch_parameter(op: str) -> None:
    files = {
        name: text for name, text in drafted(op).items() if name in ("kernel.py", "wrapper.py")
    }
    lines = files["kernel.py"].splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("# With what"))
    after = next(n for n, line in enumerate(lines) if line.startswith("def forward"))
    declared = range(first + 1, after + 1)
    assert len(declared) > 3
    made = mutants(files, most=1000)
    assert made
    assert not [m for m in made if m.file == "kernel.py" and m.line in declared]
