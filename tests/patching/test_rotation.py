"""Rotary functions that are nearly rotations, and the calls that rope serves or leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rotary_cases import MODULE, RIGHT, WRONG, Launches, decorated, heads, own
from torch import Tensor

from workbench_kernels.patching import PatchError, patch, unpatch
from workbench_kernels.patching.functions import rebound
from workbench_kernels.patching.rotary import RotaryFunctions
from workbench_kernels.patching.rotation import Arguments, replacement
from workbench_kernels.patching.verdicts import Verdicts, key_of


@pytest.fixture
def verdicts() -> Verdicts:
    return Verdicts()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_rotation_is_left_alone(name: str, verdicts: Verdicts) -> None:
    attention = own(*WRONG[name])
    attention.head_dim = 64
    report = patch(attention, only=["rope"], verdicts=verdicts)
    assert not report.served
    assert "turn: " in report.left[0].verdict.reason
    with pytest.raises(PatchError, match="left alone"):
        unpatch(attention)
        patch(attention, only=["rope"], verdicts=verdicts, strict=True)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_a_rotation_is_served(name: str, verdicts: Verdicts) -> None:
    old, new, heads_dim = RIGHT[name]
    attention, given = own(old, new), heads(heads_dim)
    wanted = attention(*given)
    assert patch(attention, only=["rope"], verdicts=verdicts).served
    with Launches() as launches:
        got = attention(*given)
    assert launches.count == 1
    torch.testing.assert_close(got, wanted)


def test_a_function_that_the_kernels_library_made_a_module_of(verdicts: Verdicts) -> None:
    attention, given = own("sin\n\nclass", MODULE), heads(1)
    wanted = attention(*given)
    assert patch(attention, only=["rope"], verdicts=verdicts).served
    with Launches() as launches:
        torch.testing.assert_close(attention(*given), wanted)
    assert launches.count == 1


def test_a_kernel_of_the_kernels_library_is_left_in_its_place(verdicts: Verdicts) -> None:
    attention = own("sin\n\nclass", MODULE)
    turn = type(attention).forward.__globals__["turn"]
    turn.forward = turn.forward
    assert not patch(attention, only=["rope"], verdicts=verdicts).entries


def test_decorators_keep_their_effect(verdicts: Verdicts) -> None:
    attention, given = decorated("negated"), heads(1)
    wanted = attention(*given)
    assert patch(attention, only=["rope"], verdicts=verdicts).served
    with Launches() as launches:
        torch.testing.assert_close(attention(*given), wanted)
    assert launches.count == 1
    unpatch(attention)
    torch.testing.assert_close(attention(*given), wanted, rtol=0, atol=0)


def test_a_decorator_that_hides_the_forward_is_a_reason(verdicts: Verdicts) -> None:
    report = patch(decorated("lost"), only=["rope"], verdicts=verdicts)
    assert "a decorator of its forward can't be copied" in report.left[0].verdict.reason


def test_verdicts_are_of_the_code_that_is_called() -> None:
    keys = {key_of("rope", own("", ""))}
    changes = [change[:2] for change in (*WRONG.values(), *RIGHT.values()) if change[0]]
    keys |= {key_of("rope", own(*change)) for change in changes}
    keys |= {key_of("rope", own("return q * cos", "return SCALE * q * cos"))}
    assert len(keys) == 2 + len(changes)
    assert key_of("rope", own("", "")) in keys


def test_a_constant_of_its_file_is_part_of_the_verdict() -> None:
    scaled = "SCALE = {}\ndef turn(q, k, cos, sin, unsqueeze_dim=1):\n    q = q * SCALE"
    keys = {
        key_of("rope", own("def turn(q, k, cos, sin, unsqueeze_dim=1):", scaled.format(number)))
        for number in (1.0, 2.0)
    }
    assert len(keys) == 2


@pytest.fixture
def original() -> Iterator[Any]:
    yield own("", "").forward.__globals__["turn"]


def _cases() -> dict[str, Callable[[list[Tensor]], tuple[list[Any], dict[str, Any], int]]]:
    """Calls with the numbers of launches they come to."""
    return {
        "by position": lambda t: ([*t, 1], {}, 1),
        "by name": lambda t: (t[:2], {"sin": t[3], "cos": t[2], "unsqueeze_dim": 1}, 1),
        "one batch of tables": lambda t: ([*t[:2], t[2][:1], t[3][:1]], {}, 1),
        "bfloat16": lambda t: ([x.bfloat16() for x in t], {}, 1),
        "float32 tables": lambda t: ([*(x.bfloat16() for x in t[:2]), *t[2:]], {}, 1),
        "bfloat16 tables": lambda t: ([*t[:2], *(x.bfloat16() for x in t[2:])], {}, 0),
        "float64": lambda t: ([x.double() for x in t], {}, 0),
        "of two dtypes": lambda t: ([t[0].bfloat16(), *t[1:]], {}, 0),
        "tables that learn": lambda t: ([*t[:2], t[2].requires_grad_(), t[3]], {}, 0),
        "more tables than heads": lambda t: ([t[0][:1], t[1][:1], *t[2:]], {}, 0),
        "no batch": lambda t: ([x[0] for x in t], {"unsqueeze_dim": 0}, 1),
        "one table for a batch": lambda t: ([*t[:2], t[2][0], t[3][0]], {"unsqueeze_dim": 0}, 1),
        "counted from the end": lambda t: (t, {"unsqueeze_dim": -3}, 0),
    }  # fmt: skip


@pytest.mark.parametrize("name", _cases())
def test_every_call_gives_what_it_gave(name: str, original: Any, verdicts: Verdicts) -> None:
    args, kwargs, wanted_launches = _cases()[name](heads(1))
    verdict = verdicts.find(RotaryFunctions(), own("", ""))
    ours = replacement(original, verdict.options["functions"]["turn"])
    wanted = original(*args, **kwargs)
    with Launches() as launches:
        got = ours(*args, **kwargs)
    assert launches.count == wanted_launches
    tolerance = 0.05 if torch.bfloat16 in (wanted[0].dtype, args[0].dtype) else 1e-5
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


def test_a_wrong_call_is_the_original_s_error(original: Any, verdicts: Verdicts) -> None:
    verdict = verdicts.find(RotaryFunctions(), own("", ""))
    ours = replacement(original, verdict.options["functions"]["turn"])
    for args, kwargs in [(heads(1), {"q": 1}), (heads(1)[:2], {}), (heads(1), {"unknown": 1})]:
        with pytest.raises(TypeError, match="turn"):
            ours(*args, **kwargs)


def test_one_tensor_of_two_is_left_to_the_original() -> None:
    def turn(q: Tensor, k: Any = None, cos: Any = None, sin: Any = None) -> Any:
        return "the original's"

    options = {"pairing": "half", "table": "column for each feature", "layouts": [[4, 3, None, 1]]}
    q, _, cos, sin = heads(1)
    assert replacement(turn, options)(q, cos=cos, sin=sin) == "the original's"


def test_tables_that_are_not_there_are_left_to_the_original() -> None:
    def turn(q: Tensor, k: Tensor, cos: Any = None, sin: Any = None) -> Any:
        return "the original's"

    options = {"pairing": "half", "table": "column for each feature", "layouts": [[4, 3, None, 1]]}
    q = torch.ones(1, 2, 3, 4)
    assert replacement(turn, {**options, "mixed": "promoted"})(q, q) == "the original's"


def test_functions_of_more_than_a_rotation_have_a_reason(verdicts: Verdicts) -> None:
    attention = own(
        "def turn(q, k, cos, sin, unsqueeze_dim=1):",
        "def turn(q, k, cos, sin, position_ids=0, *, axes, unsqueeze_dim=1):",
    )
    report = patch(attention, only=["rope"], verdicts=verdicts)
    assert "it wants axes too" in report.left[0].verdict.reason


def test_a_global_replaced_after_the_copy_makes_another_copy(verdicts: Verdicts) -> None:
    attention = own("", "")
    options = verdicts.find(RotaryFunctions(), attention).options["functions"]
    first = rebound(type(attention), replacement, options)
    assert rebound(type(attention), replacement, options) is first
    known = type(attention).forward.__globals__
    known["turn"] = lambda q, k, cos, sin, unsqueeze_dim=1: (q, k)
    assert rebound(type(attention), replacement, options) is not first


def test_a_verdict_from_a_file_is_the_same(tmp_path: Path) -> None:
    attention = own("", "")
    file = tmp_path / "verdicts.json"
    first = Verdicts(file)
    verdict = first.find(RotaryFunctions(), attention)
    first.save()
    assert Verdicts(file).find(RotaryFunctions(), attention) == verdict


def test_roles_are_told_by_names() -> None:
    def gptj(tensor: Tensor, sin: Tensor, cos: Tensor) -> None: ...
    def pairs(xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> None: ...
    def other(x: Tensor, y: Tensor) -> None: ...

    found = [Arguments.of(function) for function in (gptj, pairs, other)]
    assert found[0] and found[0].tensors == ("tensor",) and found[0].tables == ("cos", "sin")
    assert found[1] and found[1].tensors == ("xq", "xk") and found[1].tables == ("freqs_cis",)
    assert found[2] is None
    assert found[0].bind((), {}) is None
