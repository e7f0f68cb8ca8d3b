"""Components of one's own, from a single file."""

from pathlib import Path

import pytest

from classwise import registry

POLICY = '''
from classwise import ClassPolicy, config, register

@register("policy", "{name}")
@config
class Mine(ClassPolicy):
    """Does nothing."""
'''


def test_a_file_registers_its_components_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(POLICY.format(name="unit-mine"), encoding="utf-8")
    digest = registry.load_plugin(path)
    first = registry.get("policy", "unit-mine")
    assert registry.load_plugin(path) == digest
    copy = tmp_path / f"mine-{digest[:12]}.py"  # as a run keeps it
    copy.write_bytes(path.read_bytes())
    assert registry.load_plugin(copy) == digest
    assert registry.get("policy", "unit-mine") is first


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken.py", "def (", "failed while loading: SyntaxError"),
        ("failing.py", "raise RuntimeError('no')", "failed while loading: RuntimeError: no"),
        ("needing.py", "import nothing_of_this_name", "failed while loading: ModuleNotFoundError"),
        ("taking.py", POLICY.format(name="kl-dro"), "'kl-dro' is already registered by"),
        ("notes.txt", "", "is not a Python file: give the path of a .py file"),
    ],
)
def test_a_file_that_does_not_work_is_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        registry.load_plugin(tmp_path / name)
    assert name in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a Python file"):
        registry.load_plugin(tmp_path / "none.py")
