"""The plain form of configurations: strict, exact, and in words where it refuses."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

import classwise as cw
from classwise.configuration import config, differences, from_plain, from_yaml, replace, to_plain, to_yaml
from classwise.data import DataSource
from classwise.training import TrainConfig


@config
class Sample:
    """One field of every type."""

    number: float = 0.5
    count: int = 3
    flag: bool = False
    text: str = "a"
    choice: Literal["left", "right"] = "left"
    some: tuple[int, ...] = (1, 2)
    radius: cw.Radius = cw.Radius("8/255")
    maybe: cw.Radius | None = None

    def check(self) -> None:
        if self.count < 0:
            raise ValueError(f"count {self.count} must not be negative")


def test_a_radius_keeps_the_way_it_was_written() -> None:
    made = Sample(radius="8/255", maybe="2/255")  # type: ignore[arg-type]
    assert float(made.radius) == 8 / 255
    assert to_plain(made)["radius"] == "8/255"
    assert to_plain(made)["maybe"] == "2/255"
    assert from_plain(Sample, to_plain(made)) == made
    assert str(from_plain(Sample, {"radius": 0.5}).radius) == "0.5"


@pytest.mark.parametrize("text", ["8/255", "0.031", "1e-3", "1/2"])
def test_yaml_gives_radii_back_unchanged(text: str, tmp_path: Path) -> None:
    config = TrainConfig(threat=cw.linf(text))
    (tmp_path / "a.yaml").write_text(to_yaml(config), encoding="utf-8")
    back = from_yaml(TrainConfig, tmp_path / "a.yaml")
    assert str(back.threat.radius) == text
    assert float(back.threat.radius) == float(config.threat.radius)


def test_numbers_written_without_a_point_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("number: 1e-3\nmaybe: null\nsome: []\n", encoding="utf-8")
    assert from_yaml(Sample, tmp_path / "a.yaml") == Sample(number=1e-3, some=())


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"cuont": 3}, r"unknown key 'cuont': did you mean 'count'\?"),
        ({"count": 3.5}, "count: expected int, got 3.5"),
        ({"count": True}, "count: expected int, got True"),
        ({"count": "3"}, "count: expected int, got '3'"),
        ({"flag": 1}, "flag: expected bool, got 1"),
        ({"text": 7}, "text: expected str, got 7"),
        ({"number": "much"}, "number: expected float, got 'much'"),
        ({"choice": "lefft"}, r"choice: 'lefft' is not one of its values: did you mean 'left'\?"),
        ({"some": 3}, "some: expected a list, got 3"),
        ({"some": ["x"]}, r"some\[0\]: expected int, got 'x'"),
        ({"radius": "much"}, "radius: radius 'much' is not a number"),
        ({"radius": "-1"}, "radius: radius '-1' must be a finite number of at least 0"),
        ({"radius": True}, "radius: expected a radius such as 8/255, got True"),
        ({"radius": None}, "radius: expected a radius such as 8/255, got None"),
        ({"count": -1}, "count -1 must not be negative"),
    ],
)
def test_what_does_not_fit_is_named(plain: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_plain(Sample, plain)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("epcohs: 3", r"unknown key 'epcohs': did you mean 'epochs'\?"),
        ("policy: {name: kl-dro, taau: 1}", r"unknown key 'policy.taau': did you mean 'tau'\?"),
        ("policy: {name: kl-drio}", r"policy: unknown policy 'kl-drio': did you mean 'kl-dro'\?"),
        ("policy: {tau: 1}", "policy: expected a policy as a mapping with its 'name'"),
        ("threat: {radius: 8}", r"threat: radius 8 is larger than the whole pixel range .* write 8/255"),
        ("threat: {norm: linff}", r"threat.norm: 'linff' is not one of its values: did you mean 'linf'\?"),
        ("threat: {radius: -8/255}", "threat.radius: radius '-8/255' must be a finite number of at least 0"),
        ("policy: {name: kl-dro, tau: -1}", r"policy: tau -1.0 must be at least 0"),
        ("epochs: 0", "epochs 0 and batch_size 128 must be at least 1"),
        ("hardware: {threads: -1}", "hardware: threads -1 must be at least 1"),
        ("- epochs", "must hold a mapping of fields, not list"),
        ("", "must hold a mapping of fields, not NoneType"),
        ("epochs: [", "is not valid YAML"),
        ("model: !!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_a_damaged_file_is_named_with_its_place(yaml: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        from_yaml(TrainConfig, path)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'.*none\.yaml' does not exist"):
        from_yaml(TrainConfig, tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="cannot be read: is a directory"):
        from_yaml(TrainConfig, tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not valid YAML"):
        from_yaml(TrainConfig, tmp_path / "bytes.yaml")


def test_replace_suggests_and_checks() -> None:
    assert replace(Sample(), count=4) == Sample(count=4)
    with pytest.raises(ValueError, match=r"Sample has no field 'cuont': did you mean 'count'\?"):
        replace(Sample(), cuont=4)
    with pytest.raises(ValueError, match="must not be negative"):
        replace(Sample(), count=-4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample().count = 4  # type: ignore[misc]


def test_differences_name_the_place() -> None:
    one, other = TrainConfig(), TrainConfig(epochs=31, policy=cw.policies.KLDRO())
    lines = differences(one, other)
    assert "epochs: 30 → 31" in lines
    assert "policy.name: uniform → kl-dro" in lines
    assert differences(one, TrainConfig()) == []


def test_the_kind_of_a_component_is_kept_apart() -> None:
    with pytest.raises(ValueError, match="unknown data 'kl-dro'"):
        from_plain(DataSource, "kl-dro")
