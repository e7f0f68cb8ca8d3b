"""The command line. Nothing here imports torch before a verb is known."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import TextIO

OK, USER_MISTAKE, CHECK_FAILED, NOT_REPAIRED, INTERRUPTED = 0, 2, 3, 4, 130

VERBS = {
    "demo": "Train, audit, repair and audit again on bundled images of digits; writes a report. Takes minutes.",
    "audit": "Attack a model and count, class by class, what withstands.",
    "merge": "Put together the parts of an audit that several machines made.",
    "check": "Look for what makes robust accuracy come out too high; or check a plug-in against its contract.",
    "certify": "Certify l_2 radii by randomised smoothing, class by class.",
    "finetune": "Repair the weakest classes of a robust model.",
    "train": "Train a model by a named recipe or a configuration file.",
    "compare": "Compare runs and audits of the same images: two class by class, any number in a table or a site.",
    "report": "Write one HTML file about a run and its audits.",
    "track": "Send the log of a run to TensorBoard or MLflow.",
    "recipes": "List the named experiments, or show one.",
    "reproduce": "Run a table of a paper, and set what is measured beside what is printed.",
    "data": "Fetch data sets, or say which there are.",
    "models": "List the networks, with source and size, or show one.",
    "theory": "Compute the papers' conceptual models: as printed, corrected and simulated.",
    "export": "Write the network of a run as safetensors, ONNX or a Hugging Face folder, with its audits.",
    "doctor": "Report versions, devices and what is broken.",
}

RESUMABLE = {
    "audit": "verdict, where --out was given",
    "certify": "sample, where --out was given",
    "demo": "checkpoint",
    "finetune": "checkpoint",
    "reproduce": "checkpoint or verdict",
    "train": "checkpoint",
}
"""Verbs that go on where they were interrupted, and after what."""

HINT = """\
classwise demo                                           the whole job on bundled images, with a report
classwise train digits-pgd-at --out runs/at              train a robust network
classwise audit runs/at                                  which classes an attacker breaks first
classwise finetune runs/at --recipe digits-faal --out runs/repair
classwise compare runs/at runs/repair                    what changed, class by class"""


def run(arguments: list[str]) -> int:
    """Carry out one command.

    Args:
        arguments: Words after the program's name.

    Returns:
        Exit code: 0 done, 2 the user's mistake, 3 a check was not met, 4 a repair did not succeed, 130 interrupted.
    """
    if not arguments:
        print(HINT)
        return OK
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        from classwise import __version__

        print(__version__)
        return OK
    try:
        if verb.startswith("-"):
            _overview(arguments)
            return OK
        if verb not in VERBS:
            from classwise.registry import did_you_mean

            raise ValueError(f"there is no such command{did_you_mean(verb, list(VERBS))}")
        if os.environ.get("RANK", "0") != "0":  # of several processes the first one speaks
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - lives as long as the process
        command = importlib.import_module(f"classwise.cli.{verb}")
        with warnings.catch_warnings():
            warnings.showwarning = _note
            return int(command.main(rest) or OK)
    except SystemExit as leaving:  # the parser leaves like this after --help and after a wrong flag
        return leaving.code if isinstance(leaving.code, int) else USER_MISTAKE
    except (ValueError, FloatingPointError) as error:
        if os.environ.get("CLASSWISE_TRACEBACK"):
            raise
        print(f"classwise {verb}: {error}", file=sys.stderr)
        return USER_MISTAKE
    except BrokenPipeError:  # whoever reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if os.environ.get("CLASSWISE_TRACEBACK") or error.filename is None:
            raise
        reason = (error.strerror or type(error).__name__).lower()
        print(
            f"classwise {verb}: cannot use {str(error.filename)!r}: {reason}; check the path, its rights and the disk",
            file=sys.stderr,
        )
        return USER_MISTAKE
    except KeyboardInterrupt:
        goes_on = f"continues from the last {RESUMABLE[verb]}" if verb in RESUMABLE else "starts again"
        print(f"\nclasswise {verb}: interrupted; the same command {goes_on}", file=sys.stderr)
        return INTERRUPTED


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as a sentence, without the place in the code."""
    print(f"Note: {message}", file=sys.stderr)


def _overview(arguments: list[str]) -> None:
    """Help of the program as a whole, and what to say to an unknown verb."""
    from collections.abc import Callable
    from typing import Any

    import tyro

    def named(summary: str) -> Callable[[], None]:
        def verb() -> None:
            return None

        verb.__doc__ = summary
        return verb

    verbs: dict[str, Callable[..., Any]] = {name: named(summary) for name, summary in VERBS.items()}
    tyro.extras.subcommand_cli_from_dict(
        verbs,
        prog="classwise",
        description="Audit, repair and train image classifiers for class-wise robustness.",
        args=arguments,
    )
