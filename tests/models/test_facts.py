"""What is stated of the zoo is what is counted, and what others publish."""

import pytest

from classwise import registry
from classwise.models import PreActResNet18, ResNetCIFAR, WideResNet, network_named
from classwise.models.facts import ZOO, Facts, count_parameters, facts_of


@pytest.mark.parametrize("facts", ZOO, ids=lambda each: each.word)
def test_parameters_are_counted(facts: Facts) -> None:
    assert count_parameters(network_named(facts.word)) == facts.parameters
    if facts.published:
        digits = len(facts.published.partition(".")[2])
        assert f"{facts.parameters / 1e6:.{digits}f}" == facts.published
    assert bool(facts.published) == bool(facts.stated_by)
    assert facts.source
    assert facts.pixels


def test_nearly_all_published_counts_are_known() -> None:
    assert sum(bool(each.published) for each in ZOO) >= 12


def test_every_network_made_here_is_listed() -> None:
    elsewhere = {"given", "huggingface", "import", "robustbench", "timm", "torchvision"}
    ours = {
        name for name in registry.names("model") if registry.get("model", name).__module__.startswith("classwise.")
    } - elsewhere
    assert {network_named(each.word).registered_name for each in ZOO} == ours
    assert len({each.word for each in ZOO}) == len(ZOO)


def test_counting_on_the_meta_device_counts_what_is_built() -> None:
    for builder, classes, shape in (
        (PreActResNet18(width=4), 7, (1, 28, 28)),
        (WideResNet(depth=10), 200, (3, 64, 64)),
    ):
        built = builder.build(classes, shape)
        assert count_parameters(builder, classes, shape) == sum(each.numel() for each in built.parameters())


def test_facts_are_found_by_configuration() -> None:
    found = facts_of(ResNetCIFAR(depth=56))
    assert found is not None
    assert found.word == "resnet-cifar,depth=56"
    assert facts_of(ResNetCIFAR(depth=44)) is None
