"""An audit that kills itself: python kill_program.py PROBLEM FOLDER CALL.

PROBLEM is a file with a network and images; at the model call with that number the process dies as by a power cut
(0: never).
"""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import classwise as cw
from classwise.evaluation import journal
from classwise.progress import Silent

calls = 0


class Mortal(nn.Module):
    """Counts its calls and those of its copies."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        global calls
        calls += len(x) > 0
        if calls == LAST:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(x)  # type: ignore[no-any-return]


torch.set_num_threads(1)
problem = torch.load(sys.argv[1], weights_only=False)
out, LAST = Path(sys.argv[2]), int(sys.argv[3])
journal.EVERY = 0.02
data = cw.ClassData(problem["images"], problem["labels"], problem["class_names"], problem["index"])
cw.audit(
    Mortal(problem["network"]),
    data,
    threat=[cw.linf("0.12"), cw.linf("0.06")],
    attacks="apgd-ce-6+apgd-t-3+fab-t-3+square-12",
    batch_size=32,
    precision=problem["precision"],
    progress=Silent(),
    out=out,
)
print(calls)
