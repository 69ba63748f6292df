"""Training in two processes, as torchrun starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from condense_torch import Processes
from torch import Tensor
from two_processes import train

FOLDER = Path(__file__).parent


def run_two(network: str, folder: Path) -> list[dict[str, Tensor]]:
    """The supernet's state in either process after training."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, "-B", *launcher, FOLDER / "two_processes.py", network, folder],
        check=True,
        env=os.environ | {"PYTHONPATH": f"{FOLDER.parent}{os.pathsep}{FOLDER}", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return [torch.load(folder / f"process{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("network", ["ConvNet", "Perceptron"])
def test_two_processes_hold_the_same_supernet(network: str, tmp_path: Path) -> None:
    first, second = run_two(network, tmp_path)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert (tmp_path / "two.csv").read_text().count("\n") == 1 + 2 + 1  # header, epochs, recalibrated


def test_two_half_batches_are_one_batch(tmp_path: Path) -> None:
    """Without batch norm the mean of both gradients is the whole batch's."""
    first, _ = run_two("Perceptron", tmp_path / "two")
    alone = train("Perceptron", tmp_path / "one", Processes()).state_dict()
    for name in first:
        torch.testing.assert_close(first[name], alone[name], msg=name)
