"""Jobs on a real Ray cluster of this machine, whose GPUs are but numbers; killed workers.

The clusters are the tests' own: each has a token and a folder that no other Ray knows of.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import jobs_fixtures as fixtures
import pytest
import torch
from court import write_fixture
from jobs_fixtures import FILES
from runs_fixtures import git, without_gpu

from workbench.errors import UsageError
from workbench.jobs import cluster, executor

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None,
    reason="Ray is not installed: pip install 'kernel-workbench[workbench,ray]'",
)

HERE = Path(__file__).parents[1]
PATH = os.pathsep.join(map(str, (HERE, HERE / "kernels", HERE / "tests")))
HEAD = """
import sys, ray
ray.init(
    "local", num_cpus=2, num_gpus=int(sys.argv[1]), include_dashboard=False, log_to_driver=False,
    object_store_memory=80 << 20, _temp_dir=sys.argv[2],
)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@contextmanager
def head(gpus: int) -> Iterator[dict[str, str]]:
    """A cluster of one node; the environment in which `--on ray` finds it. It leaves nothing."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path must be short
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    variables |= {"RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": PATH}
    # Ray gives away no more than are named here.
    named = ",".join(map(str, range(gpus)))
    environment = os.environ | variables | {"CUDA_VISIBLE_DEVICES": named}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-c", HEAD, str(gpus), folder]
    try:
        with subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "Ray does not start"
            yield variables | {"RAY_ADDRESS": address}
        assert fixtures.until(lambda: not started(folder), 20), started(folder)
    finally:
        for pid in started(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def started(folder: str) -> list[int]:
    """The processes that were started for a cluster in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def two() -> Iterator[dict[str, str]]:
    """A cluster with two GPUs."""
    with head(2) as environment:
        yield environment


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = write_fixture(tmp_path, "relu2")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "The library")
    return root


def bench(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workbench", "bench", "relu2", *arguments],
        cwd=root,
        env=without_gpu() | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


# In a process of its own: Ray remembers what token it was imported with.
JOBS = """
import json, pathlib, sys
from jobs_fixtures import *
from workbench.jobs import cluster, executor
once, always = sys.argv[1:]
with executor("ray") as ray:
    found, told = done(
        ray, job("looks", looks), job("refuses", refuses), job("once", dies, once, 1),
        job("always", dies, always, 9),
    )
    try:
        done(ray, job("bug", is_buggy))
    except RuntimeError as error:
        bug = str(error)
    cluster._here = lambda: "workbench 0.0.1"
    found += done(ray, job("other", looks))[0]
    models = list(ray.models)
results = {one.job.label: one.result for one in found}
problems = {
    one.job.label: [type(one.problem).__name__, str(one.problem), one.problem.hint]
    for one in found if one.problem
}
print(json.dumps([results, problems, told, bug, models]))
"""


def test_jobs_have_a_gpu_each_and_more_than_one_life(two: dict[str, str], tmp_path: Path) -> None:
    once, always, host = tmp_path / "once", tmp_path / "always", socket.gethostname()
    said = subprocess.run(
        [sys.executable, "-c", JOBS, once, always],
        env=os.environ | two,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    results, problems, told, bug, models = json.loads(said)
    assert models == [""]
    assert results["looks"].pop("gpu") in ("0", "1") and "looks: looking" in told
    assert results["looks"] == {path: data.decode() for path, data in FILES.items()}
    assert problems["refuses"] == ["UsageError", "it is refused", "ask for another"]
    assert bug.startswith("bug: ZeroDivisionError: division by zero\nTraceback")
    assert results["once"] == 2 and "once" not in problems
    (again,) = [what for what in told if what.startswith("once: again")]
    assert f" on {host}: its process " in again
    assert always.read_text() == "xxx"
    kind, problem, _ = problems["always"]
    assert kind == "WorkbenchError" and problem.startswith("always: its process")
    assert f" on {host} ended (The worker died unexpectedly" in problem
    kind, problem, hint = problems["other"]
    assert kind == "UsageError" and problem.endswith(", not workbench 0.0.1")
    assert problem.startswith(f"{host} has workbench") and "on every node" in hint


def test_interrupted_nothing_is_left(two: dict[str, str], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    program = (
        "from jobs_fixtures import done, hangs, job; from workbench.jobs import executor\n"
        f"with executor('ray') as ray: done(ray, job('a', hangs, {str(marker)!r}))"
    )
    code, gone = fixtures.interrupted(program, marker, without_gpu() | two)
    assert code != 0 and gone


@contextmanager
def door(inside: dict[str, str]) -> Iterator[str]:
    """Where `ray://` leads into a cluster."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ray.util.client.server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--address", inside["RAY_ADDRESS"], "--mode", "legacy"]
    server = subprocess.Popen(
        command,
        env=os.environ | inside,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert fixtures.until(lambda: listens(port), 30)
        yield f"ray://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.skipif(torch.cuda.is_available(), reason="its GPUs are real")
def test_a_gpu_that_is_none(two: dict[str, str], repository: Path) -> None:
    """From outside the cluster; nothing is timed on a GPU that only the cluster believes in."""
    token = {name: two[name] for name in two.keys() - {"RAY_ADDRESS"}}
    with door(two) as address:
        process = bench(repository, "--on", address, **token)
    assert process.returncode == 1, process.stderr
    assert process.stdout.startswith("failed     relu2 · PyTorch ")
    assert "sees no GPU where one was promised" in process.stdout


def test_without_a_gpu_it_is_compiled_there(repository: Path) -> None:
    with head(0) as environment:
        process = bench(repository, "--on", "ray", "--json", **environment)
        check = bench(repository, "--on", "ray", "--check", **environment)
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    (one,) = answer["ops"]
    assert one["evidence"]["kind"] == "compilation" and answer["failed"] == []
    assert one["evidence"]["data"]["kernels"]
    assert check.returncode == 2
    assert "--check needs a GPU, and the Ray cluster has none" in check.stderr


@pytest.mark.parametrize(
    ("on", "variables"), [("ray://127.0.0.1:1", {}), ("ray", {"RAY_ADDRESS": "127.0.0.1:1"})]
)
def test_where_no_cluster_is(on: str, variables: dict[str, str], repository: Path) -> None:
    process = bench(repository, "--on", on, **variables)
    assert process.returncode == 2
    assert "no Ray cluster answers at" in process.stderr and "ray start --head" in process.stderr


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="not installed") as error, executor("ray"):
        pass
    assert "pip install" in error.value.hint


def test_models_of_a_mixed_cluster() -> None:
    def models(*nodes: dict[str, float]) -> list[str]:
        alive = [{"Alive": True, "Resources": {"CPU": 8.0, **node}} for node in nodes]
        dead = {"Alive": False, "Resources": {"GPU": 8.0, "accelerator_type:T4": 1.0}}
        return cluster.Cluster(SimpleNamespace(nodes=lambda: [*alive, dead]), "ray").models

    h100, a100 = ({"GPU": 8.0, f"accelerator_type:{name}": 1.0} for name in ("H100", "A100"))
    assert models({}) == []
    assert models({}, {"GPU": 2.0}) == [""]
    assert models(h100, h100, {"GPU": 2.0}) == ["H100"]
    assert models(h100, a100) == ["A100", "H100"]
