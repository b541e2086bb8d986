"""What a user installs: light imports, the data in the wheel, and no clash with other packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = {"anthropic", "jinja2", "git", "matplotlib", "pydantic", "typer", "rich", "workbench"}


def python(code: str, cwd: Path, path: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "HOME": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_library_imports_nothing_of_the_engine(tmp_path: Path) -> None:
    # torch itself uses some of these (jinja2 in inductor); what counts is what the library adds.
    code = (
        "import sys, torch, triton; before = set(sys.modules)\n"
        "import workbench_kernels.functional, workbench_kernels.nn, workbench_kernels.op\n"
        "import workbench_kernels.launch, workbench_kernels.partials, workbench_kernels.testing\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    assert not ENGINE & set(python(code, tmp_path, str(ROOT / "kernels")).split())


def test_transformers_imports_at_the_repository_root() -> None:
    # It looks for a package named `kernels`; our folder of that name must not be taken for it.
    code = (
        "import sys; sys.path.insert(0, ''); from transformers import LlamaForCausalLM; print('ok')"
    )
    assert python(code, ROOT).endswith("ok")


def test_the_wheel_holds_packages_and_data(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from workbench.assets import asset; from workbench import tiers\n"
        "from workbench.authors.draft import DraftAuthor\n"
        "from workbench.profile import analyze; from workbench.reference import find\n"
        "print(asset('tiers'), (asset('workflows') / 'kernel-dev.toml').is_file())\n"
        "from workbench.evidence.render import _environment\n"
        "_environment().get_template('report.md.j2')\n"
        "from workbench.bench.page import _environment as pages\n"
        "pages().get_template('measured.html.j2'), pages().get_template('compiled.html.j2')\n"
        "print(len(DraftAuthor().render(analyze(find('relu2'), 'relu2'), find('relu2'))))"
    )
    assert python(code, tmp_path, str(site)).split() == [
        str(site / "workbench/_data/tiers"),
        "True",
        "4",
    ]


def test_an_op_needs_no_entry_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "workbench_kernels"
    folder.mkdir()
    for file in (ROOT / "kernels/workbench_kernels").glob("*.py"):
        (folder / file.name).write_text(file.read_text())
    (folder / "twice").mkdir()
    (folder / "twice/spec.py").write_text("")
    (folder / "twice/wrapper.py").write_text("def twice(x):\n    return 2 * x\n\nTwice = twice\n")
    code = (
        "from workbench_kernels.functional import twice; from workbench_kernels.nn import Twice\n"
        "import workbench_kernels; print(workbench_kernels.ops(), twice(4), Twice(5))"
    )
    assert python(code, tmp_path, str(tmp_path)) == "['twice'] 8 10"
