"""Every file of reference numbers is used by the test that this index names."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

INDEX = {
    "tests/attacks/published/test_apgd_fixtures.py": (
        "methods/aa_apgd_l2.npz",
        "methods/aa_apgd_linf.npz",
        "methods/aa_schedules.json",
    ),
    "tests/attacks/published/test_autoattack_small.py": (
        "methods/aa_standard_l2.npz",
        "methods/aa_standard_linf.npz",
    ),
    "tests/attacks/published/test_fab_fixtures.py": (
        "methods/aa_fab_l2.npz",
        "methods/aa_fab_linf.npz",
        "methods/aa_fab_projection.npz",
    ),
    "tests/attacks/published/test_pgd_fixtures.py": (
        "methods/aa_losses.npz",
        "methods/eval_pgd20_cw20.npz",
        "methods/pgd_l2_frl_eval.npz",
        "methods/pgd_l2_rice128.npz",
        "methods/pgd_linf_eval.npz",
        "methods/pgd_linf_eval_2restarts.npz",
    ),
    "tests/certify/test_statistics.py": ("methods/smoothing.json",),
    "tests/data/test_split.py": (
        "methods/splits.json",
        "methods/splits_rice_cifar10.json",
    ),
    "tests/metrics/test_aggregates.py": ("methods/metrics.json",),
    "tests/mixing/test_same_class_theory.py": ("methods/theory.json",),
    "tests/policies/test_calibrated_temperature.py": ("methods/absld_temperature.json",),
    "tests/policies/test_frl.py": (
        "methods/frl_costs_rm_hist.json",
        "methods/frl_costs_rmrw.json",
        "methods/frl_costs_rw.json",
        "methods/frl_sequence_rm_hist.json",
        "methods/frl_sequence_rmrw.json",
        "methods/frl_sequence_rw.json",
    ),
    "tests/policies/test_hedge.py": ("methods/wat_weights.json",),
    "tests/policies/test_similarity_transfer.py": ("methods/dafa_class_weights.json",),
    "tests/published/test_autoattack.py": (
        "autoattack_parts.npz",
        "autoattack_resnet20.npz",
    ),
    "tests/theory/test_kl_ball.py": ("theory.json",),
    "tests/training/published/test_attacks.py": (
        "methods/common.npz",
        "methods/common_trainmode.npz",
    ),
    "tests/training/published/test_averaging.py": (
        "methods/ema_step_warmup.npz",
        "methods/fawa_code.npz",
        "methods/fawa_paper.npz",
    ),
    "tests/training/published/test_awp.py": (
        "methods/awp_at_g10.npz",
        "methods/awp_at_g5.npz",
        "methods/awp_trades_g10.npz",
        "methods/awp_trades_g5.npz",
        "methods/faal_step_at_awp_tau25.npz",
        "methods/faal_step_at_awp_tau50.npz",
        "methods/faal_step_trades_awp_tau25.npz",
        "methods/faal_step_trades_awp_tau50.npz",
    ),
    "tests/training/published/test_cfa.py": (
        "methods/cfa_at_ccm_evalmode.npz",
        "methods/cfa_at_ccm_trainmode.npz",
        "methods/cfa_at_evalmode.npz",
        "methods/cfa_at_trainmode.npz",
        "methods/cfa_classwise_log.json",
        "methods/cfa_schedule.json",
        "methods/cfa_trades_ccm_ccr.npz",
        "methods/cfa_trades_ccr.npz",
        "methods/cfa_trades_plain.npz",
    ),
    "tests/training/published/test_dafa.py": (
        "methods/dafa_pgd_public_ones.npz",
        "methods/dafa_pgd_public_w.npz",
        "methods/dafa_trades_ones.npz",
        "methods/dafa_trades_w.npz",
    ),
    "tests/training/published/test_faal.py": (
        "methods/faal_step_at_tau25.npz",
        "methods/faal_step_at_tau50.npz",
        "methods/faal_step_trades_tau25.npz",
        "methods/faal_step_trades_tau50.npz",
        "methods/faal_weights.json",
    ),
    "tests/training/published/test_fat.py": (
        "methods/cfa_fat_ccm_evalmode.npz",
        "methods/cfa_fat_ccm_trainmode.npz",
        "methods/cfa_fat_evalmode.npz",
        "methods/cfa_fat_trainmode.npz",
        "methods/fat_tau0.npz",
        "methods/fat_tau1.npz",
        "methods/fat_tau3.npz",
        "methods/fat_trades_tau1.npz",
    ),
    "tests/training/published/test_frl.py": (
        "methods/frl_evaluate.npz",
        "methods/frl_step_rm_hist.npz",
        "methods/frl_step_rmrw.npz",
        "methods/frl_step_rw.npz",
    ),
    "tests/training/published/test_mart.py": (
        "methods/faal_step_mart_tau25.npz",
        "methods/faal_step_mart_tau50.npz",
        "methods/mart_b5.npz",
        "methods/mart_b6.npz",
    ),
    "tests/training/published/test_schedules.py": ("methods/lr_schedules.json",),
    "tests/training/published/test_steps.py": (
        "methods/trades_l2.npz",
        "methods/trades_linf_b1.npz",
        "methods/trades_linf_b6.npz",
        "methods/trades_linf_paper.npz",
    ),
    "tests/training/published/test_variance.py": (
        "methods/varreg_at.npz",
        "methods/varreg_trades.npz",
    ),
    "tests/training/published/test_wat.py": (
        "methods/wat_step_ones.npz",
        "methods/wat_step_w.npz",
        "methods/wat_validate.json",
    ),
}
"""Test file → the reference files that it holds the package against; one test file for each, though others may use it too."""

MARKED_SLOW = {"tests/published/test_autoattack.py", "tests/attacks/published/test_autoattack_small.py"}
"""Minutes each: they are not run again to see what they open."""


def test_every_reference_file_has_its_test(shared: Path) -> None:
    folder = shared / "fixtures"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"}
    named = [name for names in INDEX.values() for name in names]
    assert sorted(named) == sorted(there)
    assert len(there) >= 88


@pytest.mark.parametrize("test", INDEX)
def test_a_test_names_its_reference_files(test: str) -> None:
    text = (ROOT / test).read_text(encoding="utf-8")
    silent = [name for name in INDEX[test] if Path(name).name not in text and name != "methods/common.npz"]
    assert not silent, "write the full names of the files, so that a search finds the test"


@pytest.mark.slow
def test_every_test_opens_its_reference_files(shared: Path, tmp_path: Path) -> None:
    """The tests are run under an audit hook that sees which files they open; a name in a comment would not do."""
    tests = [test for test in INDEX if test not in MARKED_SLOW]
    out = tmp_path / "opened.json"
    program = ROOT / "tests" / "index" / "record_opened.py"
    command = [sys.executable, str(program), str(shared / "fixtures"), str(out), *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    opened = json.loads(out.read_text(encoding="utf-8"))
    unused = [name for test in tests for name in INDEX[test] if test not in opened.get(name, [])]
    assert not unused
