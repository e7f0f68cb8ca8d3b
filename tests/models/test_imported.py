"""Networks by import path: what is run, what is passed on, and every way to be wrong."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from classwise.configuration import from_plain, to_plain
from classwise.models import Imported, ModelBuilder, Normalized, load_foreign
from classwise.models.imported import parse

CODE = """
from torch import nn

NUMBER = 3
NETWORK = nn.Linear(2, 2)
CALLS = []

def make_net(*sizes, **options):
    CALLS.append((sizes, options))
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5))

class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.head = nn.Linear(12, width)

    def forward(self, x):
        return self.head(x.flatten(1))

    @classmethod
    def wide(cls):
        return cls(width=9)

def not_a_network():
    return 5

def broken():
    raise KeyError("depth")
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package ``PACKAGE`` of its own for each test, with a module ``nets``."""
    package = f"theirs_{tmp_path.name.replace('-', '_')}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / package / "nets.py").write_text(CODE)
    (tmp_path / package / "raises.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / package / "needs.py").write_text("import a_package_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    return package


def build(path: str, **fields: object) -> nn.Module:
    return Imported(path=path, **fields).build(5, (3, 2, 2))


def test_a_function_and_a_class_make_networks(nets: str):
    assert build(f"{nets}.nets:make_net")(torch.rand(4, 3, 2, 2)).shape == (4, 5)
    assert build(f"{nets}.nets:Net").head.out_features == 2
    assert build(f"{nets}.nets:Net.wide").head.out_features == 9


def test_the_module_is_run_by_build_and_not_before(nets: str):
    builder = Imported(path=f"{nets}.raises:make")
    with pytest.raises(
        ValueError, match=rf"the module '{nets}\.raises' failed while being imported: RuntimeError: no l"
    ):
        builder.build(5, (3, 2, 2))


def test_arguments_in_the_path_are_passed_on_and_nothing_else(nets: str):
    build(f"{nets}.nets:make_net")
    build(f"{nets}.nets:make_net(1, 'a', depth=28, sizes=[1, 2], flag=True, ratio=-0.5, nothing=None)")
    import importlib

    calls = importlib.import_module(f"{nets}.nets").CALLS
    options = {"depth": 28, "sizes": [1, 2], "flag": True, "ratio": -0.5, "nothing": None}
    assert calls == [((), {}), ((1, "a"), options)]


def test_normalisation_is_put_before_it(nets: str):
    torch.manual_seed(0)
    net = build(f"{nets}.nets:Net", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert isinstance(net, Normalized)
    x = torch.rand(4, 3, 2, 2)
    by_hand = (x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.4, 0.5, 0.6])[:, None, None]
    assert torch.allclose(net(x), net.net(by_hand), atol=1e-6)


def test_a_checkpoint_of_it_loads(nets: str, tmp_path: Path):
    trained = build(f"{nets}.nets:Net")
    torch.save({"state_dict": {f"module.{key}": each for key, each in trained.state_dict().items()}}, tmp_path / "w.pt")
    net = build(f"{nets}.nets:Net", mean=(0.5,) * 3, std=(0.5,) * 3)
    load_foreign(net, tmp_path / "w.pt")
    assert torch.equal(net.net.head.weight, trained.head.weight)


def test_it_survives_its_plain_form():
    made = Imported(path="pkg.nets:make(depth=3)", mean=(0.5,), std=(0.25,))
    assert from_plain(ModelBuilder, yaml.safe_load(yaml.safe_dump(to_plain(made)))) == made
    assert from_plain(ModelBuilder, {"name": "import", "path": "a:b"}) == Imported(path="a:b")


@pytest.mark.parametrize(
    "path", ["", "mypkg.nets", "mypkg.nets.make", ":make", "mypkg:", "a-b:c", "a..b:c", "a:b:c", "/a.py:c"]
)
def test_paths_of_another_form_are_refused(path: str):
    with pytest.raises(ValueError, match=r"names no callable of a module: write package\.module:callable"):
        Imported(path=path)


@pytest.mark.parametrize(
    "arguments",
    ["(", "(x)", "(depth=)", "(depth=open('x'))", "(**{'a': 1})", "(*[1])", "(1)(2)", "(1).real", "(1) + 2"],
)
def test_arguments_that_are_no_plain_values_are_refused(arguments: str):
    with pytest.raises(ValueError, match=r"are no plain values: write package\.module:callable\(depth=28"):
        Imported(path=f"a:b{arguments}")


def test_a_path_is_taken_apart():
    assert parse("a.b:c.d(1, e='x:y', f=(1, 2))") == ("a.b", "c.d", (1,), {"e": "x:y", "f": (1, 2)})
    assert parse("a:b") == ("a", "b", (), {})
    assert parse("a:b()") == ("a", "b", (), {})


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (
            "a_package_that_nobody_has:f",
            r"there is no module 'a_package_that_nobody_has': install its package, or name",
        ),
        ("a_package_that_nobody_has.sub:f", r"there is no module 'a_package_that_nobody_has'"),
        ("PACKAGE.absent:f", r"there is no module 'PACKAGE\.absent': .*PYTHONPATH"),
        ("PACKAGE.needs:f", r"'PACKAGE\.needs' failed while being imported: ModuleNotFoundError: .*nobody_has"),
        ("PACKAGE.nets:make_nett", r"'PACKAGE\.nets' has no 'make_nett': did you mean 'make_net'"),
        ("PACKAGE.nets:Net.deep", r"'PACKAGE\.nets' has no 'Net\.deep'"),
        ("PACKAGE.nets:NUMBER", r"nets:NUMBER is a int, which cannot be called: name a class or function"),
        ("PACKAGE.nets:NETWORK", r"nets:NETWORK is a network already: name the class or function that makes it"),
        ("PACKAGE.nets:not_a_network", r"not_a_network' returned a int and no torch module"),
        ("PACKAGE.nets:broken", r"broken' failed when it was called: KeyError: 'depth'"),
        ("PACKAGE.nets:Net(depth=3)", r"failed when it was called: TypeError: .*unexpected keyword argument 'depth'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(nets: str, path: str, says: str):
    with pytest.raises(ValueError, match=says.replace("PACKAGE", nets)) as caught:
        build(path.replace("PACKAGE", nets))
    assert "\n" not in str(caught.value)


def test_mean_and_std_belong_together():
    for fields in ({"mean": (0.5,)}, {"std": (0.5,)}):
        with pytest.raises(ValueError, match="belong together: give both or neither"):
            Imported(path="a:b", **fields)
