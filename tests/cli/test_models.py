"""``classwise models``."""

import dataclasses
import re
from collections.abc import Callable

from classwise import registry
from classwise.models import network_named
from classwise.models.facts import ZOO

Cli = Callable[..., tuple[int, str, str]]


def test_the_list_names_every_network_with_source_size_and_parameters(cli: Cli) -> None:
    code, out, err = cli("models", "list")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for each in ZOO:
        row = re.split(r"\s{2,}", lines[each.word])
        assert row == [each.word, f"{each.parameters:,}", each.pixels, each.source]
    for name in registry.names("model"):
        if name in {"huggingface", "import", "robustbench", "timm", "torchvision"}:
            assert len(lines[name].split()) > 4
    assert "given" not in lines


def test_a_network_is_shown_with_its_fields_and_counts(cli: Cli) -> None:
    code, out, _ = cli("models", "show", "wide-resnet,depth=28")
    assert code == 0
    text = " ".join(out.split())
    assert out.startswith("wide-resnet (also wide-resnet-34-10, wrn)\n")
    assert "Source: Zagoruyko, Komodakis" in text
    assert "depth=28: Layers, 6n+4" in text
    assert "sub_block=False: Whether a second copy" in text
    assert "36,479,194 parameters" in text
    assert "Stated by the paper: 36.5 million" in text


def test_counts_are_for_the_classes_and_the_shape_that_are_asked_for(cli: Cli) -> None:
    code, out, _ = cli("models", "show", "linear", "--classes", "3", "--shape", "1", "4", "5")
    assert code == 0
    assert "63 parameters and 60 multiplications per image, for 3 classes and images of 1x4x5." in out
    code, _, err = cli("models", "show", "cnn4", "--shape", "1", "8", "8")
    assert code == 2
    assert "8x8 pixels are too small" in err


def test_fields_of_a_base_class_are_described(cli: Cli) -> None:
    for each in ZOO:
        _, out, _ = cli("models", "show", each.word)
        name = network_named(each.word).registered_name
        fields = re.findall(r"^  (\w+)=\S.*?: (\w+)", out, re.MULTILINE)
        assert {field for field, _ in fields} == {each.name for each in dataclasses.fields(registry.get("model", name))}


def test_networks_of_other_packages_are_shown_without_being_made(cli: Cli) -> None:
    for word in ("timm", "timm:resnet18,pretrained=true", "import", "import:no.such:thing"):
        code, out, err = cli("models", "show", word)
        assert (code, err) == (0, "")
        assert "Source" in out or "code is run" in out
        assert "parameters and" not in out


def test_an_unknown_network_is_named_with_the_nearest(cli: Cli) -> None:
    code, out, err = cli("models", "show", "restnet18")
    assert (code, out) == (2, "")
    assert "unknown model 'restnet18': did you mean 'resnet18'" in err
