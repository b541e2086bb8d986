"""patch, unpatch, patched: what they change, what they leave, what they refuse."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import weakref
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from models import model, same_step, step, tokens
from torch import nn

from workbench_kernels.patching import PatchError, patch, patched, unpatch
from workbench_kernels.patching.rule import Verdict
from workbench_kernels.patching.verdicts import Verdicts


@pytest.fixture
def verdicts() -> Verdicts:
    """Nothing is known, and nothing is written."""
    return Verdicts()


def state(made: nn.Module) -> dict[str, dict[str, object]]:
    """Every module's own attributes, by path."""
    return {path: dict(vars(module)) for path, module in made.named_modules()}


def test_a_patched_model_learns_what_it_learnt(verdicts: Verdicts) -> None:
    made = model("llama")
    before = step(made)
    report = patch(made, verdicts=verdicts)
    assert len(report.of("norm")) == 5 and all(e.verdict.served for e in report.of("norm"))
    same_step(before, step(made))


def test_unpatch_restores_it_exactly(verdicts: Verdicts) -> None:
    made = model("llama")
    before, was = state(made), step(made)
    patch(made, verdicts=verdicts)
    assert state(made) != before
    unpatch(made)
    made.zero_grad()
    assert state(made) == before
    loss, grads = step(made)
    assert torch.equal(loss, was[0]) and all(torch.equal(grads[n], g) for n, g in was[1].items())


def test_what_others_put_over_it_stays(verdicts: Verdicts) -> None:
    """Accelerate's hooks bring offloaded weights, and call what they were put over."""
    from accelerate import cpu_offload

    made = model("llama")
    before = made(input_ids=tokens()).logits
    patch(made, verdicts=verdicts)
    cpu_offload(made, execution_device=torch.device("cpu"))
    hook = vars(made.model.norm)["forward"]  # type: ignore[union-attr]
    torch.testing.assert_close(made(input_ids=tokens()).logits, before)
    unpatch(made)
    assert vars(made.model.norm)["forward"] is hook  # type: ignore[union-attr]
    assert torch.equal(made(input_ids=tokens()).logits, before)


@pytest.mark.parametrize("restored", [False, True])
def test_it_is_freed_with_the_last_that_holds_it(restored: bool, verdicts: Verdicts) -> None:
    made = model("llama")
    held = [weakref.ref(module) for module in made.modules()]
    patch(made, verdicts=verdicts)
    step(made)
    if restored:
        unpatch(made)
    del made
    gc.collect()
    assert not any(module() is not None for module in held)


def test_nothing_but_the_model_changes(verdicts: Verdicts) -> None:
    """Neither another model of its class, nor the class, nor what its file names."""
    from transformers.models.llama import modeling_llama

    made, other = model("llama"), model("llama")
    names, classes = dict(vars(modeling_llama)), {}
    for module in other.modules():
        classes[type(module)] = dict(vars(type(module)))
    before = state(other)
    patch(made, verdicts=verdicts)
    assert vars(modeling_llama) == names and state(other) == before
    assert all(dict(vars(kind)) == was for kind, was in classes.items())


def test_as_long_as_a_context_lasts(verdicts: Verdicts) -> None:
    made = model("llama")
    before = state(made)
    with pytest.raises(KeyError), patched(made, only={"norm"}, verdicts=verdicts) as reports:
        assert reports[0].served and state(made) != before
        raise KeyError
    assert state(made) == before


def test_before_it_is_built(verdicts: Verdicts) -> None:
    """Once, with the weights it has when it is first called; another type's not at all."""
    from transformers import PreTrainedModel

    made = PreTrainedModel.post_init
    before = step(model("llama"))
    with patched("llama", only={"norm"}, verdicts=verdicts) as reports:
        ours, other = model("llama"), model("gemma")
        assert not reports
    assert PreTrainedModel.post_init is made
    same_step(before, step(ours))
    step(ours)
    step(other)
    later = state(model("llama"))
    assert [(report.model, len(report.served)) for report in reports] == [("LlamaForCausalLM", 5)]
    assert not any("forward" in attributes for attributes in later.values())


@pytest.mark.parametrize(
    "first",
    [torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_however_it_is_first_called(first: AbstractContextManager[None]) -> None:
    """What is proven is kept, and a first call may be an evaluation."""
    plain = patch(model("llama"), verdicts=Verdicts())
    with patched("llama", verdicts=Verdicts()) as reports:
        made = model("llama")
        with first:
            made(input_ids=tokens())
    assert str(reports[0]) == str(plain) and not plain.left


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PatchError, match="'llama' is a type of transformers'"), patched("llama"):
        pass


def test_only_what_is_asked_for(verdicts: Verdicts) -> None:
    report = patch(model("llama"), only={"norm"}, verdicts=verdicts)
    assert {entry.kind for entry in report.entries} == {"norm"}


def test_a_copy_is_served_by_itself(verdicts: Verdicts) -> None:
    """Its modules call the kernels with their own weights."""
    made = model("llama")
    patch(made, verdicts=verdicts)
    before = step(made)
    for copied in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.zero_()
        same_step(before, step(copied))
        made.load_state_dict(copied.state_dict())


def test_checkpoints_are_of_the_model_as_it_is(verdicts: Verdicts, tmp_path: Path) -> None:
    made = model("llama")
    names = list(made.state_dict())
    patch(made, verdicts=verdicts)
    assert list(made.state_dict()) == names
    made.save_pretrained(tmp_path)  # type: ignore[operator]
    again = type(made).from_pretrained(tmp_path)  # type: ignore[attr-defined]
    same_step(step(made), step(again.train()))


def test_compiled_whole(verdicts: Verdicts) -> None:
    made = model("llama", num_hidden_layers=1)
    before = step(made)
    patch(made, only={"norm"}, verdicts=verdicts)
    torch._dynamo.reset()
    compiled = torch.compile(made.model, fullgraph=True, backend="aot_eager")
    hidden = compiled(input_ids=tokens()).last_hidden_state
    torch.testing.assert_close(hidden, made.model(input_ids=tokens()).last_hidden_state)
    assert before[0] > 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda made: patch(made, only={"norms"}), "no 'norms' to patch; there are"),
        (lambda made: patch(made.to("meta")), "meta device"),
        (lambda made: (patch(made, verdicts=Verdicts()), patch(made)), "patched already"),
        (unpatch, "not patched"),
        (lambda made: patch(nn.Module()), "no parameters"),
    ],
)
def test_what_can_not_be_is_said(broken: object, said: str) -> None:
    made = model("llama")
    with pytest.raises(PatchError, match=said):
        broken(made)  # type: ignore[operator]


def test_a_cpu_needs_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    made = model("llama")
    before = state(made)
    with pytest.raises(PatchError, match="is on cpu, where no kernel runs; move it to a GPU"):
        patch(made)
    assert state(made) == before


class Odd(nn.Module):
    """A norm like none there is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x / (x.abs().mean(-1, keepdim=True) + self.eps)


def test_parameters_in_other_processes(verdicts: Verdicts) -> None:
    """As DeepSpeed leaves them, and with the vectors back that it is told to bring."""
    made = model("llama")
    values = {parameter: parameter.data for parameter in made.parameters()}
    for parameter, value in values.items():
        parameter.ds_shape = value.shape  # type: ignore[attr-defined]
        parameter.data = torch.empty(0)
    before = state(made)
    with pytest.raises(PatchError, match=r"layers\.0\.input_layernorm\.weight is spread over"):
        patch(made, verdicts=verdicts)
    assert state(made) == before
    for parameter, value in values.items():
        if value.dim() == 1:
            parameter.data = value
    assert not patch(made, verdicts=verdicts).left
    for parameter, value in values.items():
        parameter.data = value
    same_step(step(model("llama")), step(made))


def test_what_is_left_alone_is_named(verdicts: Verdicts) -> None:
    made = nn.Sequential(Odd(), nn.LayerNorm(8))
    before = state(made)
    with pytest.raises(
        PatchError, match=r"left alone: 0 \(Odd\): .* no norm computes what it does"
    ):
        patch(made, strict=True, verdicts=verdicts)
    assert state(made) == before
    report = patch(made, verdicts=verdicts)
    assert [entry.path for entry in report.left] == ["0"]
    assert [entry.path for entry in report.served] == ["1"]
    assert "norm         1 x Odd · left alone: no norm" in str(report)


def test_proofs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same module is proven once; one whose numbers or code are others, anew."""
    from workbench_kernels.patching.norms import Norms

    asked = []
    of = Norms.prove

    def prove(self: Norms, module: nn.Module) -> Verdict:
        asked.append(type(module).__name__)
        return of(self, module)

    monkeypatch.setattr(Norms, "prove", prove)
    path = tmp_path / "deep" / "verdicts.json"
    report = patch(model("llama"), only={"norm"}, verdicts=Verdicts(path))
    assert asked == ["LlamaRMSNorm"]
    again = patch(model("llama"), only={"norm"}, verdicts=Verdicts(path))
    assert asked == ["LlamaRMSNorm"] and again == report
    patch(model("llama", rms_norm_eps=1e-3), only={"norm"}, verdicts=Verdicts(path))
    patch(model("llama", hidden_size=64), only={"norm"}, verdicts=Verdicts(path))
    assert len(asked) == 3
    path.write_text("{")
    patch(model("llama"), only={"norm"}, verdicts=Verdicts(path))
    assert len(asked) == 4 and len(Verdicts(path)._known) == 1


def test_importing_it_imports_neither_transformers_nor_the_compiler() -> None:
    """Which take seconds."""
    code = "import sys, workbench_kernels.patching; print(*map(sys.modules.get, sys.argv[1:]))"
    command = [sys.executable, "-c", code, "transformers", "torch._dynamo", "torch._inductor"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "None None None\n"
