"""A supernet of a Fashion-MNIST network, against networks trained on their own.

    python -m fashion_mnist dense    --data DIR --run DIR    # the network that all others start from
    python -m fashion_mnist supernet --data DIR --run DIR    # all densities over one set of weights
    python -m fashion_mnist separate --data DIR --run DIR    # a network per density
    python -m fashion_mnist report   --data DIR --run DIR    # the table, and the supernet as ONNX

Each goes on where it was stopped. `separate` starts each network from the weights of `dense`, prunes it by
the supernet's ranking and shares of layers, and trains it on the labels with the supernet's rate and batches.
All of them together cost the multiply-adds of the supernet: its steps train four levels, so it gets one and a
half times their epochs where there are six.
Under `torchrun --nproc-per-node N -m fashion_mnist ..` the batch is divided over N processes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from condense_torch import Block, Data, Options, Processes, Supernet, Trainer, erdos_renyi, to_onnx
from fashion_mnist import data as fashion_data
from fashion_mnist.network import FashionNet

DENSITIES = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
BATCH = 128
DENSE_RATE = 0.1
# Below the rate that made the dense network, or the highest level forgets what it has learnt.
PRUNED_RATE = 0.05
# Of two output channels: more accurate where few weights are left than the usual four, and nearly as fast.
BLOCK = Block(rows=2)


class Experiment:
    """The commands. Each leaves its results in the run's folder."""

    def __init__(self, arguments: argparse.Namespace, processes: Processes):
        self.arguments = arguments
        self.folder: Path = arguments.run
        self.processes = processes
        self.data: Data = fashion_data.load(arguments.data, BATCH // processes.size, arguments.seed, processes)

    def dense(self) -> None:
        """Trains the network that all others start from."""
        torch.manual_seed(self.arguments.seed)
        self.dense_trainer().run()

    def supernet(self) -> None:
        """Trains all densities over one set of weights."""
        self.supernet_trainer(self.dense_network()).run()

    def separate(self) -> None:
        """Trains a network per density, the densest first."""
        for density in sorted(self.arguments.densities, reverse=True):
            self.separate_trainer(density, self.dense_network()).run()

    def report(self) -> None:
        """Prints the table; writes `results.json`, `supernet.onnx` and `test.npz` for `condensec eval`."""
        trainer = self.supernet_trainer(FashionNet())
        load_finished(trainer)
        supernet = trainer.supernet
        rivals = []
        for density in supernet.densities:
            rival = self.separate_trainer(density, FashionNet())
            load_finished(rival)
            rivals.append(rival.log.last_accuracies()[0])
        top1 = trainer.log.last_accuracies()
        levels = [
            {"level": k, "density": density, "top1": top1[k], "separate_top1": rivals[k]}
            for k, density in enumerate(supernet.densities)
        ]
        results = {"torch": torch.__version__.split("+")[0], "seed": self.arguments.seed, "levels": levels}
        (self.folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        onnx.save(to_onnx(supernet, torch.zeros(1, 1, 28, 28)), self.folder / "supernet.onnx")
        x, y = zip(*self.data.test(), strict=True)
        np.savez_compressed(self.folder / "test.npz", x=torch.cat(x).numpy(), y=torch.cat(y).numpy())
        print("| level | density | supernet | trained alone | difference |\n|---|---|---|---|---|")
        for k, density in enumerate(supernet.densities):
            print(f"| L{k} | {density:g} | {top1[k]:.4f} | {rivals[k]:.4f} | {top1[k] - rivals[k]:+.4f} |")

    def trainer(self, name: str, network: nn.Module, densities: list[float], rate: float, epochs: int) -> Trainer:
        """A run of `network` with these levels."""
        supernet = Supernet(network, densities, block=BLOCK, allocation=erdos_renyi).to(memory_format=torch.channels_last)
        options = Options(epochs, rate, seed=self.arguments.seed, bf16=self.arguments.bf16)
        return Trainer(supernet, self.data, options, self.folder, name, self.processes)

    def dense_trainer(self) -> Trainer:
        """The run of the dense network: a supernet of one level."""
        return self.trainer("dense", FashionNet(), [1.0], DENSE_RATE, self.arguments.epochs)

    def supernet_trainer(self, network: nn.Module) -> Trainer:
        """The run of all levels, as long as those of its rivals together."""
        densities = self.arguments.densities
        levels_per_step = min(len(densities), Options.n_middle + 2)
        epochs = round(self.arguments.epochs * len(densities) / levels_per_step)
        return self.trainer("supernet", network, densities, PRUNED_RATE, epochs)

    def separate_trainer(self, density: float, network: nn.Module) -> Trainer:
        """The run of the rival of one level."""
        return self.trainer(f"separate-{density:g}", network, [density], PRUNED_RATE, self.arguments.epochs)

    def dense_network(self) -> nn.Module:
        """What `dense` has trained."""
        trainer = self.dense_trainer()
        load_finished(trainer)
        return trainer.supernet.to_plain(0)


def load_finished(trainer: Trainer) -> None:
    """Loads a run that came to its end; leaves the program where it did not."""
    if trainer.checkpoint.exists():
        trainer.load()
    if not trainer.is_finished:
        raise SystemExit(f"error: {trainer.name} is not trained to its end ({trainer.checkpoint})")


def main() -> None:
    """The command line; see the module's documentation."""
    commands: dict[str, Callable[[Experiment], None]] = {
        "dense": Experiment.dense,
        "supernet": Experiment.supernet,
        "separate": Experiment.separate,
        "report": Experiment.report,
    }
    parser = argparse.ArgumentParser("fashion_mnist", description="A supernet of a Fashion-MNIST network.")
    parser.add_argument("command", choices=list(commands))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the four files of Fashion-MNIST")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="for checkpoints, logs and results")
    parser.add_argument("--epochs", type=int, default=12, help="of a network of one level (default 12)")
    parser.add_argument("--densities", type=float, nargs="+", default=DENSITIES, metavar="D", help="of the levels")
    parser.add_argument("--seed", type=int, default=1, help="of weights, batches and levels (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="of each process (default 1)")
    parser.add_argument("--bf16", action="store_true", help="autocast: faster on a CPU that multiplies bf16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    processes = Processes.from_environment()
    commands[arguments.command](Experiment(arguments, processes))
    processes.leave()


if __name__ == "__main__":
    main()
