"""A reference cut out of its file: everything it needs, nothing it doesn't, and it still runs."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

from workbench.errors import BadReference
from workbench.reference import find
from workbench.source import Source, arrange, extract
from workbench.tiers import known


def cut(tmp_path: Path, text: str, function: str = "f") -> Source:
    file = tmp_path / "given.py"
    file.write_text(dedent(text).lstrip())
    return extract(file, function)


def run(text: str) -> dict[str, Any]:
    module: dict[str, Any] = {"__name__": "alone"}
    exec(compile(text, "<alone>", "exec", dont_inherit=True), module)
    return module


def test_the_whole_text(tmp_path: Path) -> None:
    source = cut(
        tmp_path,
        '''
        """Activations we like."""
        import json, math
        from torch import Tensor, nn
        import torch

        # From the paper's appendix.
        SCALE = math.sqrt(2.0)
        UNUSED = json.dumps({})

        def unused(x): return x

        def scaled(x: Tensor) -> Tensor:
            return SCALE * x  # kept as written

        def f(x: Tensor, alpha: float = 1.0) -> Tensor:
            """y = √2·relu(x)"""
            return torch.relu(scaled(x)) * alpha

        if __name__ == "__main__":
            print(f(torch.ones(3)))
        ''',
    )
    expected = '''
        from __future__ import annotations

        import math

        import torch
        from torch import Tensor


        # From the paper's appendix.
        SCALE = math.sqrt(2.0)


        def scaled(x: Tensor) -> Tensor:
            return SCALE * x  # kept as written


        def f(x: Tensor, alpha: float = 1.0) -> Tensor:
            """y = √2·relu(x)"""
            return torch.relu(scaled(x)) * alpha
        '''
    assert source.text == dedent(expected).lstrip()


def test_locals_do_not_drag_in_globals_of_the_same_name(tmp_path: Path) -> None:
    source = cut(
        tmp_path,
        """
        scale = open("nowhere")
        def f(x):
            scale = 2.0
            return (lambda y: y * scale)(x)
        """,
    )
    assert "nowhere" not in source.text


def test_decorators_defaults_annotations_and_base_classes_count(tmp_path: Path) -> None:
    source = cut(
        tmp_path,
        """
        import functools
        from typing import Any
        LOW = 0.5
        class Base: ...
        class Helper(Base):
            @staticmethod
            def apply(x): return abs(x)
        def twice(g):
            @functools.wraps(g)
            def both(x, low=LOW): return g(g(x))
            return both
        @twice
        def f(x: Any, low=LOW): return Helper.apply(x) + low
        """,
    )
    assert source.imports == ("from typing import Any", "import functools")
    assert run(source.text)["f"](-1.0) == 2.0


def test_every_statement_that_binds_a_name_is_kept_in_order(tmp_path: Path) -> None:
    source = cut(tmp_path, "N = 1\nN += 2\nM = N; K = M + 1\ndef f(x): return x + N + K\n")
    assert run(source.text)["f"](0) == 7


def test_conditional_definitions_come_whole(tmp_path: Path) -> None:
    source = cut(
        tmp_path,
        """
        try:
            from math import cbrt
        except ImportError:
            def cbrt(x): return x ** (1 / 3)
        def f(x): return cbrt(x)
        """,
    )
    assert "except ImportError" in source.definitions
    assert run(source.text)["f"](8.0) == pytest.approx(2.0)


def test_star_imports_are_kept_only_where_a_name_needs_them(tmp_path: Path) -> None:
    text = "from math import *\ndef f(x): return sqrt(x)\ndef g(x): return abs(x)\n"
    assert run(cut(tmp_path, text).text)["f"](4.0) == 2.0
    assert cut(tmp_path, text, "g").imports == ()


def test_renamed_imports_and_submodules(tmp_path: Path) -> None:
    text = (
        "import torch.nn.functional as F, torch as t\nimport os.path\ndef f(x): return F.relu(x)\n"
    )
    assert cut(tmp_path, text).imports == ("import torch.nn.functional as F",)


def test_the_inputs_function_is_called_inputs_and_brings_its_helpers(tmp_path: Path) -> None:
    source = cut(
        tmp_path,
        """
        import torch
        SPREAD = 3
        def f(x): return x
        def inputs(rows, cols): return (0,)
        def f_inputs(rows, cols):
            return (SPREAD * torch.ones(rows, cols),)
        """,
    )
    assert source.drawn_by == "f_inputs"
    assert source.inputs.startswith("def inputs(rows, cols):")
    assert "SPREAD" in source.definitions and "def inputs" not in source.definitions
    assert run(source.text)["inputs"](1, 2)[0].tolist() == [[3, 3]]


def test_inputs_of_the_file_serve_a_function_without_its_own(tmp_path: Path) -> None:
    source = cut(tmp_path, "def f(x): return x\ndef inputs(rows, cols): return (rows,)\n")
    assert (source.drawn_by, run(source.text)["inputs"](4, 1)) == ("inputs", (4,))


def test_a_helper_named_inputs_would_clash(tmp_path: Path) -> None:
    with pytest.raises(BadReference, match="uses the name `inputs`"):
        cut(
            tmp_path,
            "def f(x): return x\ndef f_inputs(r, c): return inputs(r)\ndef inputs(r): ...\n",
        )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("from .helpers import g", "given.py:1: .* relative to its package"),
        ("from helpers import g", "imports helpers, another file beside it"),
        ("from numpy import abs as g", "imports numpy, another package"),
    ],
)
def test_only_torch_and_the_standard_library(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "helpers.py").write_text("def g(x): return x\n")
    assert cut(tmp_path, f"{line}\ndef f(x): return x\n").imports == ()
    for body in (f"{line}\ndef f(x): return g(x)", f"def f(x):\n    {line}\n    return g(x)"):
        with pytest.raises(BadReference, match=reason.replace(":1:", r":\d:")) as caught:
            cut(tmp_path, body)
        assert "stands alone" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(x:\n", "given.py:1 isn't valid Python"),
        ("return 1\n", "given.py:1 isn't valid Python: 'return' outside function"),
        ("def relu2(x): ...\n", "has no function 'f'"),
    ],
)
def test_what_can_not_be_cut(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        cut(tmp_path, text)


def test_nearest_names_are_offered(tmp_path: Path) -> None:
    with pytest.raises(BadReference) as caught:
        cut(tmp_path, "def relu2(x): ...\ndef other(x): ...\n", "relu_2")
    assert caught.value.hint == "it has relu2"


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(BadReference, match="there is no file"):
        extract(tmp_path / "missing.py", "f")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    for path in ("binary.py", "."):
        with pytest.raises(BadReference, match="can't be read"):
            extract(tmp_path / path, "f")


def test_imports_are_arranged_in_blocks() -> None:
    lines = [
        "from torch import nn",
        "from workbench_kernels.spec import OpSpec",
        "import torch",
        "from torch import Tensor",
        "from torch import nn as layers",
        "import math",
        "from __future__ import annotations",
    ]
    assert arrange(lines).split("\n\n") == [
        "from __future__ import annotations",
        "import math",
        "import torch\nfrom torch import Tensor, nn\nfrom torch import nn as layers",
        "from workbench_kernels.spec import OpSpec",
    ]


@pytest.mark.parametrize("name", sorted(known()))
def test_every_catalogue_reference_computes_the_same_alone(name: str) -> None:
    reference = find(name)
    alone = run(reference.text)
    torch.manual_seed(1)
    tensors = reference.inputs(3, 17)
    torch.manual_seed(1)
    torch.testing.assert_close(alone["inputs"](3, 17), tensors, rtol=0, atol=0)
    torch.testing.assert_close(alone[name](*tensors), reference.call(tensors), rtol=0, atol=0)
