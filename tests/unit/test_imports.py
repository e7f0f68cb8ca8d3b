"""What each import costs, and what the core does without."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import classwise

BLOCK = """
import sys
sys.modules.update(dict.fromkeys(BLOCKED))  # importing one of them fails, as where it is not installed
"""

TRAIN = """
import warnings
import torch
import classwise as cw
from classwise.data import Split
from classwise.progress import default_progress

generator = torch.Generator().manual_seed(0)
def images(n):
    labels = torch.arange(n) % 3
    x = 0.2 * torch.rand(n, 1, 4, 4, generator=generator)
    x[torch.arange(n), 0, labels] += 0.8
    return cw.ClassData(x, labels, ("a", "b", "c"))
data = cw.Dataset("toy", train=images(60), test=lambda: images(30))
config = cw.recipe("digits-pgd-at", model=cw.models.Linear(), split=Split(at_least=4), epochs=1)
run = cw.train(config, sys.argv[1] + "/run", data=data, progress=default_progress())
result = run.audit()
assert len(result.outcomes.label) == 30
assert "weakest" in str(result)
assert all(sys.modules[name] is None for name in BLOCKED)
"""


def python(code: str, *words: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_hint_and_the_overview_do_not_import_torch() -> None:
    for words in ([], ["--help"], ["--version"]):
        python(
            f"import sys; from classwise.cli import run; assert run({words}) == 0; assert 'torch' not in sys.modules"
        )


def test_importing_the_package_imports_nothing_heavy() -> None:
    python("import sys, classwise; assert not {'torch', 'numpy', 'yaml', 'tyro'} & set(sys.modules)")


def test_training_and_auditing_need_none_of_the_optional_packages(tmp_path: Path) -> None:
    blocked = {"tyro", "rich", "pooch", "sklearn", "matplotlib", "PIL", "jinja2"}
    python(f"BLOCKED = {blocked!r}\n{BLOCK}\n{TRAIN}", str(tmp_path))


def test_every_module_imports_beside_broken_vision_packages() -> None:
    modules = sorted(each.name for each in pkgutil.walk_packages(classwise.__path__, "classwise."))
    assert len(modules) > 80
    code = "BLOCKED = {'torchvision', 'timm', 'torchmetrics'}\n" + BLOCK + "import importlib\n"
    python(code + f"for name in {modules!r}: importlib.import_module(name)")


def test_every_public_name_is_found_and_listed() -> None:
    assert set(classwise.__all__) == set(dir(classwise))
    for name in classwise.__all__:
        assert getattr(classwise, name) is not None
