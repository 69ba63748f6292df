"""What `test_processes.py` runs under torchrun: trains a network and writes this process's state.

    torchrun --nproc-per-node 2 two_processes.py NETWORK FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import networks
import torch
from condense_torch import Options, Processes, Supernet, Trainer


def train(network: str, folder: Path, processes: Processes) -> Supernet:
    """Two epochs, from weights that differ from process to process."""
    torch.set_num_threads(1)
    torch.manual_seed(processes.rank)
    supernet = Supernet(getattr(networks, network)(), [0.25, 0.5, 1.0])
    data = networks.bars_data(processes.rank, processes.size)
    Trainer(supernet, data, Options(epochs=2, rate=0.1), folder, "two", processes).run()
    return supernet


if __name__ == "__main__":
    group = Processes.from_environment()
    target = Path(sys.argv[2])
    state = train(sys.argv[1], target, group).state_dict()
    torch.save(state, target / f"process{group.rank}.pt")
    group.leave()
