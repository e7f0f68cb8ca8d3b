"""Importing the metrics must stay cheap and light."""

import subprocess
import sys


def test_import_loads_neither_torch_nor_scipy():
    code = (
        "import sys, classwise.metrics as m\n"
        "assert set(m.__all__) <= set(dir(m))\n"
        "print([name for name in ('torch', 'scipy', 'pandas', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
