"""`workbench autopatch`: what is in a model, its recipe, and what a recipe must not pass with."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from messages_api import MessagesAPI, call, turn
from runs_fixtures import APPROVER, Recorder, everything, git, library, real_library, without_gpu
from torch import Tensor
from typer.testing import CliRunner, Result

from workbench import cli
from workbench.agent import patching
from workbench.autopatch import DTYPES, PLANTS, Anatomy, drift, sandboxed, tasks, text, verify
from workbench.autopatch import stages as autopatching
from workbench.autopatch.anatomy import anatomy, in_place
from workbench.errors import (
    LimitReached,
    ModelError,
    ProfileGate,
    RunError,
    UsageError,
    VerificationFailed,
)
from workbench.evidence.archive import Archive
from workbench.evidence.document import Document, problems
from workbench.layout import RECIPES, recipe
from workbench.models import tiny
from workbench.repository import Repository
from workbench.runs import Request, Run, State, stages
from workbench.runs.engine import Engine
from workbench_kernels.patching import recipe as recipes
from workbench_kernels.patching.report import Report

__all__ = ["library"]
KIND, STEPS = "olmo", 3
NORM = "transformers.models.olmo.modeling_olmo.OlmoLayerNorm"
Bench = sandboxed.Bench
FILE = f"{RECIPES}/{KIND}/recipe.toml"
Answer = tuple[dict[str, Any], Mapping[str, Tensor]]


class Here:
    """The sandbox's tasks in this process; `wrong` replaces what a task gives."""

    wrong: Mapping[str, Any] = {}
    sandbox = "none"

    def __init__(self, root: Path) -> None:
        self._folder = root / RECIPES

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, task: str, **question: Any) -> Answer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipes.load, "__defaults__", (self._folder,))
            try:
                said, tensors = tasks.TASKS[task](**question)
            except Exception as error:
                raise ModelError(str(error)) from error
        said = json.loads(json.dumps(said))
        return self.wrong.get(task, lambda *given: given)(said, tensors)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sandboxed, verify, drift, patching):
        monkeypatch.setattr(module, "Bench", Here)
    monkeypatch.setattr(verify, "STEPS", STEPS)
    monkeypatch.setattr(verify, "DTYPES", DTYPES[:1])
    monkeypatch.setattr(verify, "PLANTS", PLANTS[:1])


@pytest.fixture
def runs(library: Path) -> Engine:
    return Engine(Repository.discover(library), stages.STAGES, Recorder())


def asked(author: str = "draft", leave: tuple[str, ...] = (), **options: Any) -> Request:
    return autopatching.request(KIND, {}, leave, author, options)


@pytest.fixture(scope="module")
def looked() -> Anatomy:
    return Anatomy.model_validate(tasks.look(KIND, {}, recipes=False)[0])


def confirmed(runs: Engine, request: Request) -> Run:
    run = runs.start(request)
    assert run.state is State.PROFILE
    return runs.confirm(run.id, APPROVER)


# A run


def test_norms_that_a_rotation_takes_are_not_watched() -> None:
    """A hook on one would have it computed by itself, and another kernel run than in training."""
    said, _ = tasks.ours("qwen3", {}, "float32", 1)
    assert said["ran"]["qk_norm_rope"] and "rope" not in said["ran"]
    paths = [path for path, *_ in said["served"]]
    assert "model.norm" in paths and not [path for path in paths if path.endswith("q_norm")]
    both = [said["within"][f"model.layers.{layer}.self_attn"] for layer in range(2)]
    assert sum(both) == said["ran"]["qk_norm_rope"]


def test_a_recipe_from_the_model_to_its_commit(runs: Engine) -> None:
    root = runs.repository.root
    before = everything(root)
    run = confirmed(runs, asked())
    assert [(r.stage, r.result.ok) for r in run.records] == [
        ("analyze", True), ("confirm", True), ("generate", True), ("verify", True), ("review", True)
    ]  # fmt: skip
    summary = run.latest("verify").result.summary
    assert summary[0] == "10 of 10 modules served"
    assert summary[2] == "7 of 7 planted wrong kernels noticed"
    run = runs.approve(run.id, APPROVER)
    branch = f"workbench/{run.id}"
    changed = git(root, "diff", "--name-only", "main", branch).splitlines()
    assert changed == [f"{RECIPES}/{KIND}/evidence.json", FILE]
    assert everything(root) == before
    message = git(root, "log", "-1", "--format=%B", branch)
    assert message.startswith("Patch olmo: written by draft\n\nOf transformers ")
    assert f"confirmed by {APPROVER}" in " ".join(message.split())
    written = tomllib.loads(git(root, "show", f"{branch}:{FILE}"))
    (norm,) = [one for one in written["served"] if one["class"] == NORM]
    assert norm == {
        "class": NORM, "kind": "norm", "kernel": "layer_norm", "mode": "rounded once", "eps": 1e-5
    }  # fmt: skip

    # In the library: intact, cited, the same again, and not so once it is changed.
    git(root, "merge", "--quiet", branch)
    assert problems(root) == {}
    (record,) = Document.load_of(root, recipe(KIND)).evidence
    archive = Archive(runs.repository, runs.store)
    assert archive.find(record.id[:12]).passed and archive.changes(record) == []
    (found,) = drift.check(root, [], print)
    assert (found.type, found.changed, found.wrong) == (KIND, (), ())
    again = confirmed(runs, asked())
    assert (again.state, again.reason) == (State.UNCHANGED, "the recipe of olmo is what it was")
    (root / FILE).write_text((root / FILE).read_text().replace("1e-05", "0.5"))
    (found,) = drift.check(root, [KIND], print)
    assert found.wrong[0].startswith(f"{NORM} (norm) is not served by layer_norm rounded once")
    assert archive.changes(record) == [f"{FILE} was changed"]
    assert list(problems(root)) == [f"{RECIPES}/{KIND}/evidence.json"]


def test_what_a_person_wants_left_is_left(runs: Engine) -> None:
    run = confirmed(runs, asked(leave=("OlmoMLP",)))
    verdict = run.latest("verify").result
    assert (run.state, verdict.summary[0]) == (State.REVIEW, "8 of 10 modules served")
    assert "glu" not in verdict.data["ran"]
    assert "OlmoMLP (mlp) is left alone: the recipe of olmo says: a person asked for that" in (
        verdict.unknown
    )


def test_nothing_is_written_before_a_person_confirmed_what_is_in_the_model(runs: Engine) -> None:
    run = runs.start(asked())
    assert run.state is State.PROFILE
    with pytest.raises(ProfileGate, match="nobody has confirmed yet"):
        runs.approve(run.id, APPROVER)
    assert runs.resume(run.id).state is State.PROFILE
    with pytest.raises(RunError, match="nothing of it can be changed here"):
        runs.change(run.id, "x = 1", None, force=False)


# What a recipe must not pass with


def judge(root: Path, looked: Anatomy, recipe_text: str | None = None) -> Any:
    (root / FILE).parent.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_text(text.write(looked, {}) if recipe_text is None else recipe_text)
    return verify.verify(root, root / "base", looked, {}, lambda doing: None)


def failure(verdict: Any) -> str:
    assert not verdict.passed
    return "\n".join(f"{check.name}: {check.message}" for check in verdict.failures)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("eps = 1e-05\n", "", f"{NORM} (norm) is not served by layer_norm rounded once"),
        ('kernel = "glu"', 'kernel = "rms_norm"', "is not served by rms_norm silu: glu silu"),
        ('mode = "silu"', 'mode = "gelu"', "does not say that"),
        ("olmo.OlmoMLP", "olmo.Other", "the model has none"),
        ('type = "olmo"', 'type = "llama"', "it is of the type 'llama', not 'olmo'"),
        ("[[served]]", "[[serve]]", "an unknown 'serve'"),
    ],
)
def test_a_recipe_that_says_what_is_not_so(
    tmp_path: Path, looked: Anatomy, old: str, new: str, said: str
) -> None:
    right = text.write(looked, {})
    assert old in right
    verdict = judge(tmp_path, looked, right.replace(old, new))
    assert said in failure(verdict)
    assert verdict.trainings == ()


def test_a_recipe_is_one_file(tmp_path: Path, looked: Anatomy) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).with_name("more.py").write_text("x = 1\n")
    assert "more.py is no part of a recipe" in failure(judge(tmp_path, looked))
    (tmp_path / FILE).with_name("more.py").unlink()
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).symlink_to("/etc/passwd")
    assert "there is no " in failure(verify.verify(tmp_path, tmp_path, looked, {}, print))


CODE = """
from workbench_kernels.layer_norm.wrapper import layer_norm
from workbench_kernels.patching.replaced import Replaced
import torch


def draw(module):
    width, chance = module.normalized_shape[-1], torch.Generator().manual_seed(0)
    return {"hidden_states": torch.randn(12, width, generator=chance)}


def forward(self, hidden_states):
    return layer_norm(hidden_states, self.normalized_shape, None, None, 1e-5)


RULES = (Replaced("NORM", "norm", "layer_norm", draw, forward),)
""".replace("NORM", NORM)


def coded(root: Path, looked: Anatomy, code: str) -> Any:
    """The verdict on a recipe whose norm is served by this code."""
    (root / FILE).parent.mkdir(parents=True)
    (root / FILE).with_name("rules.py").write_text(code)
    said = text.write(looked, {}).replace("eps = 1e-05\n", "")
    return judge(root, looked, said.replace("rounded once", "by the recipe's code"))


def test_a_recipe_with_code_of_its_own(
    tmp_path: Path, looked: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks_of = dict[Path, list[str]]()

    class Told(Here):
        def ask(self, task: str, **question: Any) -> Answer:
            tasks_of.setdefault(self._folder, []).append(task)
            return super().ask(task, **question)

    monkeypatch.setattr(verify, "Bench", Told)
    verdict = coded(tmp_path, looked, CODE)
    assert verdict.passed, failure(verdict)
    assert verdict.anatomy.counts == (10, 10) and verdict.ran["layer_norm"] == 5 * (STEPS + 1)
    # No truth comes from where its code is.
    served, plain = tasks_of[tmp_path / RECIPES], tasks_of[tmp_path / "base" / RECIPES]
    assert (set(served), set(plain)) == ({"look", "ours", "planted"}, {"plain"})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1e-5)", "0.5)", "is not served by layer_norm by the recipe's code: layer_norm, by the"),
        ("return layer_norm", "torch.set_default_dtype(torch.half)\n    return layer_norm",
         "rules.py:13: torch.set_default_dtype changes PyTorch for everyone"),
        ("return layer_norm", "open('/etc/passwd')\n    return layer_norm", "rules.py:13: open"),
        ("import torch", "import torch, os\nos.environ.clear()", "os is not for ops"),
        ("RULES = ", "OTHERS = ", "rules.py has no RULES"),
    ],
)  # fmt: skip
def test_code_that_is_wrong_or_may_not_run(
    tmp_path: Path, looked: Anatomy, old: str, new: str, said: str
) -> None:
    assert old in CODE
    if "no RULES" in said:
        with pytest.raises(ModelError, match=said):
            coded(tmp_path, looked, CODE.replace(old, new))
    else:
        assert said in failure(coded(tmp_path, looked, CODE.replace(old, new)))


def test_code_that_changed_since_it_was_confirmed(tmp_path: Path, looked: Anatomy) -> None:
    other = looked.model_copy(update={"sources": {**looked.sources, NORM: "0" * 64}})
    assert failure(judge(tmp_path, other)) == f"source: {NORM} was changed"


def test_a_training_that_comes_to_something_else(
    tmp_path: Path, looked: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a kernel that is off by a thousandth."""

    def off(said: dict[str, Any], tensors: Mapping[str, Tensor]) -> Answer:
        return said, {name: t * 1.001 for name, t in tensors.items()}

    monkeypatch.setattr(Here, "wrong", {"ours": off})
    said = failure(judge(tmp_path, looked))
    assert "training float32: it does not learn the same" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda said, t: (said, {k: v for k, v in t.items() if "embed" not in k}),
            "only one has a",
        ),
        (lambda said, t: (said, {k: v[..., :1] for k, v in t.items()}), "have other shapes"),
        (lambda said, t: (said | {"ours losses": []}, t), "it has 0 losses, not 3"),
        (lambda said, t: (said | {"ours losses": "x"}, t), "what came back is no training"),
        (lambda said, t: ({"ours losses": said["ours losses"]}, t), "ran"),
        (lambda said, t: (said | {"within": [1]}, t), "within"),
        (lambda said, t: (said, t | {"ours": t["ours"] * float("nan")}), "inf of what is allowed"),
    ],
)
def test_a_training_that_is_none(
    tmp_path: Path, looked: Anatomy, monkeypatch: pytest.MonkeyPatch, wrong: Any, said: str
) -> None:
    monkeypatch.setattr(Here, "wrong", {"ours": wrong})
    found = failure(judge(tmp_path, looked))
    assert found.startswith("training float32: ") and said in found


def test_a_kernel_that_never_ran(
    tmp_path: Path, looked: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def idle(said: dict[str, Any], tensors: Mapping[str, Tensor]) -> Answer:
        return said | {"ran": {**said["ran"], "linear_cross_entropy": 0}}, tensors

    monkeypatch.setattr(Here, "wrong", {"ours": idle})
    said = failure(judge(tmp_path, looked))
    assert "launches: lm_head (loss): linear_cross_entropy ran 0 times in 3 steps" in said


def test_a_training_that_would_not_notice_a_wrong_kernel(
    tmp_path: Path, looked: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = dict.fromkeys(tasks._PLANTED, lambda t: t)
    monkeypatch.setattr(tasks, "_PLANTED", same)
    assert "planted wrong kernels: not noticed: glu off by 1 %" in failure(judge(tmp_path, looked))


def test_a_process_that_gives_no_answer() -> None:
    bench: Any = object.__new__(Bench)
    bench._end, theirs = socket.socketpair()
    bench._jail = SimpleNamespace(
        wait=lambda seconds: True, ending="killed by SIGKILL", last_words=lambda: ""
    )
    with bench._end, theirs:
        for answer in (b"", b"[]\n", b'{"bytes": -1}\n', b'{"bytes": 8}\nnothing!'):
            bench._answers = io.BytesIO(answer)
            with pytest.raises(VerificationFailed, match="gave no answer: killed by SIGKILL"):
                bench.ask("look")
        bench._answers = io.BytesIO(b'{"error": "no such thing", "bytes": 0}\n')
        with pytest.raises(ModelError, match="no such thing"):
            bench.ask("look")


# What is in a model


@pytest.mark.parametrize(
    ("kind", "decision", "said"),
    [
        ("gemma2", "between head and loss", "a soft cap: 100 becomes 29.9"),
        ("cohere", "between head and loss", "times 0.0625"),
        ("llama", "between head and loss", "nothing"),
        ("gemma2", "head", "lm_head, tied to the embedding, of the last logits_to_keep"),
        ("phi", "head", "lm_head, with a bias"),
        ("llava", "vision", "vision_config"),
        ("llama", "output", "CausalLMOutputWithPast: logits"),
        ("llama", "in place", "no module writes to what it is given"),
    ],
)
def test_decisions_are_seen_in_the_model(kind: str, decision: str, said: str) -> None:
    model = tiny.build(kind, {})
    found = anatomy(kind, model, Report("", ()), {})
    assert len(found.decisions) == 12
    assert found.decisions[decision].startswith(said)
    assert model.training


def test_what_is_written_to_in_place_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.olmo.modeling_olmo import OlmoLayerNorm

    forward = OlmoLayerNorm.forward
    monkeypatch.setattr(OlmoLayerNorm, "forward", lambda self, x: forward(self, x.mul_(1.0)))
    part: Any = SimpleNamespace(name=NORM)
    assert in_place(tiny.build(KIND, {}), [part]) == "OlmoLayerNorm"


def test_a_configuration_keeps_all_but_its_sizes() -> None:
    config = {
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "hidden_act": "gelu",
        "rms_norm_eps": 0.25, "tie_word_embeddings": True, "quantization_config": {"bits": 4},
    }  # fmt: skip
    made: Any = tiny.build("llama", {}, config).config
    assert (made.rms_norm_eps, made.hidden_act, made.tie_word_embeddings) == (0.25, "gelu", True)
    assert (made.hidden_size, made.num_hidden_layers) == (32, 2)
    parts: Any = tiny.build("gemma3", {}, {"text_config": {"rms_norm_eps": 0.125}}).config
    assert parts.text_config.rms_norm_eps == 0.125


# The author that asks a model


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagesAPI]:
    with MessagesAPI([]) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def test_a_model_writes_a_recipe(runs: Engine, api: MessagesAPI) -> None:
    root = runs.repository.root
    before = everything(root)
    api.script[:] = [
        turn(
            call("read_class", name=NORM),
            call("read_class", name="os.path"),
            call("read", path="/etc/passwd"),
            call("approve", run=KIND),
        ),
        turn(call("write", file="recipe.toml", text="type = "), call("submit")),
        turn(
            call("write", file="recipe.toml", text='type = "olmo"\ntransformers = "5"\n'),
            call("check"),
            call("write", file="rules.py", text="import os\nos.environ.clear()\n"),
            call("check"),
            call("edit", file="rules.py", old="import os\nos.environ.clear()", new="RULES = ()"),
            call("write", file="../rules.py", text=""),
        ),
        turn(call("submit")),
    ]
    run = runs.start(asked("claude", turns=4))
    with pytest.raises(LimitReached):
        runs.confirm(run.id, APPROVER)
    # It was shown the model and the engine's own recipe; and could read of it that alone.
    task = api.requests[0]["messages"][0]["content"][0]["text"]
    assert "eps = 1e-05" in task and "between head and loss: nothing" in task
    assert ["is_error" in result for result in api.results(1)] == [False, True, True, True]
    assert "F.layer_norm" in json.dumps(api.results(1)[0])
    assert "it is no TOML" in json.dumps(api.results(2)[1])
    checked = [json.dumps(result) for result in api.results(3)]
    assert "it does not say that transformers.models.olmo.modeling_olmo.OlmoMLP (mlp)" in checked[1]
    assert "rules.py:1: os is not for ops" in checked[3] and "is_error" in checked[5]
    # What it handed in was found wrong; the parked run goes on with what is right.
    run = runs.store.get(run.id)
    seen = Anatomy.model_validate(run.latest("analyze").result.data)
    right = text.write(seen, {(NORM.replace("LayerNorm", "MLP"), "mlp"): "its sums are large"})
    api.script[:] = [turn(call("write", file="recipe.toml", text=right)), turn(call("submit"))]
    run = runs.resume(run.id, {"turns": 8})
    assert run.state is State.REVIEW, run.reason
    assert run.latest("verify").result.summary[0] == "8 of 10 modules served"
    replayed = confirmed(runs, asked(f"replay:{run.id}"))
    assert replayed.state is State.REVIEW
    assert replayed.records[-1].content == run.records[-1].content
    assert everything(root) == before


# The command


def workbench(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["autopatch", *arguments])


@pytest.mark.parametrize(
    ("arguments", "config", "said"),
    [
        ([], None, "no type of models is named"),
        (["nope"], None, "no language model of type 'nope'"),
        (["olmo", "--author", "mcp"], None, "the author 'mcp' can't write a recipe"),
        (["olmo", "--author", "nobody"], None, "there is no author 'nobody'"),
        (["--check", "olmo"], None, "there is no recipe of 'olmo'"),
        (["--config", "config.json"], None, "can't be read as a configuration"),
        (["--config", "config.json"], "[]", "it is no JSON object"),
        (["--config", "config.json"], "{}", "config.json names no model_type"),
        (["olmo", "--config", "config.json"], '{"model_type": "llama"}', "of the type 'llama'"),
    ],
)
def test_what_no_run_begins_with(
    runs: Engine, monkeypatch: pytest.MonkeyPatch, arguments: list[str], config: Any, said: str
) -> None:
    monkeypatch.chdir(runs.repository.root)
    if config is not None:
        Path("config.json").write_text(config)
    found = workbench(*arguments)
    assert said in str(found.exception), found.output
    assert runs.store.all() == []


def test_what_is_not_in_the_model_can_not_be_left(runs: Engine) -> None:
    with pytest.raises(UsageError, match="nothing serves a 'Other' of olmo"):
        runs.start(asked(leave=("Other",)))


def test_a_type_of_which_no_tiny_model_runs(runs: Engine) -> None:
    request = autopatching.request("blip", {}, (), "draft", {})
    with pytest.raises(
        ModelError, match=r"no tiny model of blip can be looked into: .*pixel_values"
    ):
        runs.start(request)


def test_a_recipe_of_a_configuration_is_held_against_it(runs: Engine) -> None:
    """OLMo with another activation: what is written down is what that configuration has."""
    request = autopatching.request(KIND, {"hidden_act": "gelu"}, (), "draft", {})
    run = runs.approve(confirmed(runs, request).id, APPROVER)
    root = runs.repository.root
    git(root, "merge", "--quiet", f"workbench/{run.id}")
    assert 'mode = "gelu"' in (root / FILE).read_text()
    assert drift.check(root, [], print)[0].wrong == ()


def test_the_real_command_in_its_sandbox(tmp_path: Path) -> None:
    """From the type to the commit, with wrong input on the way."""
    root = real_library(tmp_path / "library")
    git(root, "rm", "-r", "--quiet", f"{RECIPES}/{KIND}")
    git(root, "commit", "--quiet", "-m", "There is no recipe yet")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "workbench", *arguments],
            cwd=root,
            env=without_gpu() | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    done = command("autopatch", KIND)
    assert done.returncode == 3, done.stderr
    (run,) = json.loads(command("runs", "--json").stdout)["runs"]
    shown = command("profile", "show", run["id"])
    assert "between head and loss" in shown.stdout and "OlmoLayerNorm" in shown.stdout
    assert command("profile", "edit", run["id"]).returncode == 1
    done = command("profile", "confirm", run["id"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 of 14 planted wrong kernels noticed" in done.stdout
    assert "eps = 1e-05" in command("review", run["id"]).stdout
    done = command("approve", run["id"])
    assert done.returncode == 0 and f"git merge workbench/{run['id']}" in done.stdout
    git(root, "merge", "--quiet", f"workbench/{run['id']}")
    found = recipes.load(KIND, root / RECIPES)
    assert found is not None and {one.name for one in found.served if one.hints} == {NORM}
