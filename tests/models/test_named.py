"""Networks in one word."""

import pytest

from classwise.models import (
    MLP,
    ConvNeXtTiny,
    HuggingFace,
    Imported,
    PreActResNet18,
    ResNet18,
    ResNetCIFAR,
    RobustBench,
    SmallViT,
    Timm,
    Torchvision,
    WideResNet,
    network_named,
)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("resnet20", ResNetCIFAR()),
        ("resnet-cifar,depth=32", ResNetCIFAR(depth=32)),
        ("small-vit,width=32,heads=2", SmallViT(width=32, heads=2)),
        ("preact-resnet18,final_norm=false", PreActResNet18(final_norm=False)),
        ("resnet56", ResNetCIFAR(depth=56)),
        ("resnet18,width=16", ResNet18(width=16)),
        ("wrn,depth=40,widen=2", WideResNet(depth=40, widen=2)),
        ("wide-resnet-34-10", WideResNet()),
        ("wide-resnet-28-10,sub_block=true", WideResNet(depth=28, sub_block=True)),
        ("wide-resnet-34-20", WideResNet(depth=34, widen=20)),
        ("convnext-tiny,patch_size=4", ConvNeXtTiny(patch_size=4)),
        ("mlp,hidden=[64, 32]", MLP(hidden=(64, 32))),
        ("torchvision:resnet18", Torchvision(architecture="resnet18")),
        ("timm:resnet18.a1_in1k,pretrained=true", Timm(architecture="resnet18.a1_in1k", pretrained=True)),
        ("timm,architecture=resnet18", Timm(architecture="resnet18")),
        ("huggingface:google/vit-base-patch16-224", HuggingFace(checkpoint="google/vit-base-patch16-224")),
        ("robustbench:Wong2020Fast,threat=L2", RobustBench(model="Wong2020Fast", threat="L2")),
        ("import:mypkg.nets:make_net", Imported(path="mypkg.nets:make_net")),
        (
            "import:a.b:c(depth=28, sizes=[1, 2],deep={'x': (1, 2)}),mean=[0.5,0.4],std=[1,0.25]",
            Imported(path="a.b:c(depth=28, sizes=[1, 2],deep={'x': (1, 2)})", mean=(0.5, 0.4), std=(1.0, 0.25)),
        ),
    ],
)
def test_every_form_is_read(text: str, made: object):
    assert network_named(text) == made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resnet21", r"--network: unknown model 'resnet21': did you mean 'resnet20'"),
        ("", r"--network: unknown model ''"),
        ("timmm:resnet18", r"--network: unknown model 'timmm': did you mean 'timm'"),
        ("resnet20:32", r"--network: 'resnet20' takes nothing after a colon: write resnet20 or resnet20,FIELD=VALUE"),
        ("torchvision", r"--network: 'torchvision' has to be told its architecture: write torchvision:ARCHITECTURE"),
        ("import:mypkg", r"--network: path 'mypkg' names no callable of a module: write package\.module:callable"),
        ("resnet-cifar,deep=32", r"unknown key '--network\.deep': did you mean 'depth'"),
        ("resnet-cifar,depth=many", r"--network\.depth: expected int, got 'many'"),
        ("resnet-cifar,depth=21", r"--network: depth 21 .* must be 6n\+2"),
        ("resnet-cifar,32", r"'32' in 'resnet-cifar,32' is no further field: write resnet-cifar,FIELD=VALUE"),
        ("timm:resnet18,architecture=x", r"is no further field"),
        ("wide-resnet-28-10,depth=34", r"'depth=34' in 'wide-resnet-28-10,depth=34' is no further field"),
        ("resnet56:3", r"--network: 'resnet-cifar' takes nothing after a colon"),
        ("resnet-cifar,name=linear", r"is no further field"),
        ("resnet-cifar,depth=[32", r"the value in 'depth=\[32' cannot be read: write it as in YAML"),
    ],
)
def test_mistakes_are_explained(text: str, says: str):
    with pytest.raises(ValueError, match=says):
        network_named(text, where="--network")
