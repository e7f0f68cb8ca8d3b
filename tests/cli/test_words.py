"""Words of the command line: verbs, flags, choices, help, exit codes."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from classwise import api, registry
from classwise.cli import CHECK_FAILED, INTERRUPTED, NOT_REPAIRED, OK, USER_MISTAKE, VERBS, doctor, run
from classwise.recipes import recipe

Cli = Callable[..., tuple[int, str, str]]
FLAGS = Path(__file__).with_name("train_flags.txt")


def test_the_exit_codes_are_what_the_documentation_says() -> None:
    assert (OK, USER_MISTAKE, CHECK_FAILED, NOT_REPAIRED, INTERRUPTED) == (0, 2, 3, 4, 130)
    said = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert "0 done, 2 the user's mistake" in said
    assert "3 a check was not met, 4 nothing was repaired" in said


def test_no_words_print_five_lines_to_copy(cli: Cli) -> None:
    code, out, err = cli()
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["classwise", verb] for verb in ("demo", "train", "audit", "finetune", "compare")
    ]


def test_help_lists_every_verb(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for verb in VERBS:
        assert re.search(rf"^\W+{verb} +{re.escape(VERBS[verb].split()[0])}", out, re.MULTILINE), verb
    assert cli("--version")[1].strip() == __import__("classwise").__version__


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, cli: Cli) -> None:
    code, out, err = cli(verb, "--help")
    assert (code, err) == (0, "")
    assert f"usage: classwise {verb}" in out


def test_the_flags_of_train_are_those_on_record(cli: Cli) -> None:
    """A flag that comes or goes must be meant: then write the new list into train_flags.txt."""
    _, out, _ = cli("train", "digits-pgd-at", "--help")
    shown = [line for line in out.splitlines() if re.match(r"[│ ] +-", line)]
    flags = sorted({flag for line in shown for flag in re.findall(r"(?<![\w-])--?[a-z][\w.-]*", line)})
    assert flags == FLAGS.read_text(encoding="utf-8").split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("auditt x", r"there is no such command: did you mean 'audit'\?"),
        ("train digits-pgd-att", r"unknown recipe 'digits-pgd-att': did you mean 'digits-pgd-at'"),
        ("train none.yaml", "configuration file 'none.yaml' does not exist"),
        ("train digits-pgd-at --use polcy=kl-dro", r"there is no axis 'polcy': did you mean 'policy'\?"),
        ("train digits-pgd-at --use policy=kl-drop", r"unknown policy 'kl-drop': did you mean 'kl-dro'\?"),
        ("train digits-pgd-at --use policy", "write AXIS=NAME, such as policy=kl-dro"),
        ("train digits-pgd-at --use epochs=3", "there is no axis 'epochs'"),
        ("train digits-pgd-at --plugin none.py", r"plug-in 'none\.py' is not a Python file"),
        ("train digits-pgd-at --keep-epochs 99", r"keep_epochs \[99\] must lie in 0..30"),
        ("train --epochs 3 digits-natural", "the flag --epochs stands before RECIPE"),
        ("finetune --epochs 3 runs/at", "the flag --epochs stands before MODEL"),
        ("finetune runs/none", "'runs/none' does not exist: give a run directory"),
        ("audit runs/none", "'runs/none' does not exist: give a run directory"),
        ("audit runs/none --attacks pgd-0", "unknown attack 'pgd-0'"),
        ("audit runs/none --attacks pdg-20", r"unknown attack 'pdg-20' .*did you mean 'pgd-20'"),
        ("compare runs/a runs/b", "'runs/a' holds no finished audit"),
        ("report runs/none", "'runs/none' holds no finished audit"),
        ("recipes digits-pgd-att", r"did you mean 'digits-pgd-at'"),
        ("data fetch cifar-10", r"data set 'cifar-10' cannot be fetched: did you mean 'cifar10'"),
    ],
)
def test_a_wrong_word_is_named_and_mended(words: str, message: str, cli: Cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*words.split())
    assert code == 2
    assert out == ""
    assert re.search(message, err), err
    assert err.startswith(f"classwise {words.split()[0]}: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train digits-pgd-at --epoch 3", ["--epoch", "Perhaps you meant", "--epochs"]),
        ("train digits-pgd-at --epochs three", ["--epochs", "three"]),
        ("train digits-pgd-at --threat.radius 8", ["8 is larger than the whole pixel range", "write 8/255"]),
        ("train digits-pgd-at --threat.radius -8/255", ["must be a finite number of at", "write it like 8/255"]),
        ("train digits-pgd-at --policy.tau 1", ["--policy.tau"]),
        ("train digits-pgd-at --recipe other", ["--recipe"]),
        ("audit runs/at --atacks pgd-20", ["--atacks", "Perhaps you meant", "--attacks"]),
        ("audit runs/at --norm linff", ["linff", "linf"]),
        ("audit", ["PATH"]),
        ("compare runs/at", ["PATH"]),
    ],
)
def test_a_wrong_flag_is_named_with_the_nearest(words: str, expected: list[str], cli: Cli) -> None:
    code, _, err = cli(*words.split())
    plain = " ".join(re.sub(r"[│─╭╮╰╯]", " ", err).split())
    assert code == 2
    for text in expected:
        assert text in plain
    assert "Traceback" not in err


def test_an_interrupt_leaves_with_130_and_says_how_to_go_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "train", interrupted)
    code, _, err = cli("train", "digits-pgd-at")
    assert code == 130
    assert "the same command continues from the last checkpoint" in err


def test_a_file_that_cannot_be_used_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "runs/at/config.yaml")

    monkeypatch.setattr(api, "train", refused)
    code, _, err = cli("train", "digits-pgd-at")
    assert code == 2
    assert err.startswith("classwise train: cannot use 'runs/at/config.yaml': permission denied; check")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "classwise", "train", "digits-pgd-at", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("state")

    monkeypatch.setattr(api, "train", broken)
    with pytest.raises(KeyError):
        run(["train", "digits-pgd-at"])


def test_a_traceback_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSWISE_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown recipe"):
        run(["train", "digits-pgd-att"])


def test_recipes_are_listed_and_shown(cli: Cli) -> None:
    code, out, _ = cli("recipes")
    assert code == 0
    for name in registry.names("recipe"):
        assert name in out
    code, out, _ = cli("recipes", "digits-trades")
    assert code == 0
    assert "# TRADES (beta 6) on the digits." in out
    assert "name: trades" in out
    assert "radius: '0.18'" in out


def test_a_shown_recipe_is_a_configuration_file(cli: Cli, tmp_path: Path) -> None:
    from classwise.cli.flags import Parts, base_config

    for name in registry.names("recipe"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(cli("recipes", name)[1], encoding="utf-8")
        assert base_config(str(path), Parts()) == recipe(name)


def test_data_sets_are_listed(cli: Cli) -> None:
    code, out, _ = cli("data", "list")
    assert code == 0
    assert {"digits", "cifar10"} <= {line.split()[0] for line in out.splitlines() if line}
    assert "given" not in out


def test_the_doctor_reports_and_asks_for_what_is_missing(cli: Cli, tmp_path: Path, monkeypatch) -> None:
    code, out, _ = cli("doctor", "--folder", tmp_path / "not" / "yet")
    told = dict(line.split(None, 1) for line in out.splitlines())
    assert code == 0
    assert {"python", "torch", "scipy", "device", "threads", "bf16", "disk"} <= set(told)
    assert "GiB free" in told["disk"]
    assert not (tmp_path / "not").exists()
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: None if name == "safetensors" else real(name))
    code, out, _ = cli("doctor")
    assert code == 3
    assert "Missing: safetensors. Install with: pip install safetensors" in out


def test_the_doctor_finds_a_broken_package(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(doctor, "version", lambda name: "0.1")
    code, out, _ = cli("doctor")
    assert code == 0
    assert "0.1 BROKEN here (RuntimeError: operator torchvision::nms does not exist)" in out
