"""Recipes: what a model's type needs beside the rules, proven like everything else."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench_kernels.patching import PatchError, patch, recipe, unpatch
from workbench_kernels.patching.recipe import RecipeError, parse
from workbench_kernels.patching.verdicts import Verdicts

WIDTH = 48


class Norm(nn.Module):
    """An RMSNorm that no rule sees: its weight has another name, its epsilon is in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + 1e-6)
        return self.g * normed.to(x.dtype)


class Bare(nn.Module):
    """A LayerNorm without parameters or an epsilon."""

    def __init__(self) -> None:
        super().__init__()
        self.normalized_shape = (WIDTH,)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, eps=1e-5)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.known = Norm(), Bare(), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.known(self.second(self.first(x)))
        return y


def text(**more: str) -> str:
    """A recipe for the model, with lines more in the table of each class."""
    tables = {"Norm": 'kernel = "rms_norm"\n', "Bare": 'kernel = "layer_norm"\neps = 1e-5\n'}
    entries = [
        f'[[served]]\nclass = "{__name__}.{name}"\nkind = "norm"\n{lines}{more.get(name, "")}'
        for name, lines in tables.items()
    ]
    return "\n".join(['type = "m"', 'transformers = "5.24.0"', *entries])


RIGHT = text(Norm='weight = "g"\neps = 1e-6\n')


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    leaf = x.clone().requires_grad_()
    y = model(leaf)
    y.backward(torch.ones_like(y).cumsum(-1))
    return [y.detach(), leaf.grad, *(p.grad for p in model.parameters())]


@pytest.fixture(autouse=True)
def _the_same_each_time() -> None:
    torch.manual_seed(0)


def test_what_no_rule_sees_is_served_by_a_recipe() -> None:
    model = Model()
    plain, x = copy.deepcopy(model), torch.randn(5, WIDTH)
    assert len(patch(model, verdicts=Verdicts(), recipes=[]).entries) == 1
    unpatch(model)
    report = patch(model, verdicts=Verdicts(), recipes=[parse(RIGHT)])
    assert {e.path: e.verdict.kernel for e in report.served} == {
        "first": "rms_norm", "second": "layer_norm", "known": "layer_norm"
    }  # fmt: skip
    assert "forward" in vars(model.first)
    torch.testing.assert_close(gradients(model, x), gradients(plain, x))
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(copied(x), model(x), rtol=0, atol=0)
    unpatch(model)
    assert "forward" not in vars(model.first)


def test_under_autocast_a_hinted_norm_computes_as_it_did() -> None:
    model = Model()
    plain, x = copy.deepcopy(model), torch.randn(5, WIDTH)
    patch(model, verdicts=Verdicts(), recipes=[parse(RIGHT)])
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (one.first(x.bfloat16()) for one in (model, plain))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (text(Norm='weight = "g"\neps = 0.1\n'), "no norm computes what it does"),
        (text(Norm="eps = 1e-6\n"), "neither a parameter nor a shape says how wide"),
    ],
)
def test_a_recipe_is_not_believed(wrong: str, said: str) -> None:
    """Another epsilon, no name of the weight: the module is left, and what was promised is said."""
    known, model = Verdicts(), Model()
    patch(model, verdicts=known, recipes=[parse(RIGHT)])  # what is right of one is not of another
    unpatch(model)
    left = patch(model, verdicts=known, recipes=[parse(wrong)]).left
    assert [entry.path for entry in left] == ["first"]
    assert said in left[0].verdict.reason
    assert "the recipe of m, for transformers 5.24.0, has rms_norm" in left[0].verdict.reason


def test_what_a_recipe_leaves_is_left() -> None:
    entry = (
        '[[left]]\nclass = "torch.nn.modules.normalization.LayerNorm"\nkind = "norm"\nwhy = "so"'
    )
    report = patch(Model(), verdicts=Verdicts(), recipes=[parse(f"{RIGHT}\n{entry}")])
    assert [str(entry) for entry in report.left] == [
        "known (LayerNorm): left alone: the recipe of m says: so"
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("type = ", "it is no TOML"),
        ('type = "m"', "the recipe needs a 'transformers', a str"),
        ('type = "m"\ntransformers = "5"\nserve = 1', "the recipe has an unknown 'serve'"),
        ('type = "m"\ntransformers = "5"\nserved = 1', "'served' is to be [[served]] tables"),
        (text(Norm="eps = 1\n"), "served 1 needs a 'eps', a float"),
        (text(Norm="width = 3\n"), "served 1 has an unknown 'width'"),
        (f"{RIGHT}\n[[left]]\nclass = 'a'\nkind = 'norm'", "left 1 needs a 'why'"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_said_where(given: str, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        parse(given)


class Config:
    """Of a model for more than text."""

    def __init__(self, model_type: str, text: Config | None = None) -> None:
        self.model_type, self.text_config = model_type, text
        self.sub_configs = {"text_config": Config}


def test_recipes_are_found_by_the_types_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / recipe.FILE).write_text(RIGHT)
    monkeypatch.setattr(recipe.load, "__defaults__", (tmp_path,))
    model = Model()
    model.config = Config("other", Config("m"))
    assert [found.type for found in recipe.of_model(model)] == ["m"]
    assert len(patch(model, verdicts=Verdicts()).served) == 3
    (tmp_path / "m" / recipe.FILE).write_text("type = 1")
    unpatch(model)
    with pytest.raises(PatchError, match=r"m/recipe\.toml: the recipe needs a 'type', a str"):
        patch(model, verdicts=Verdicts())
