"""Trains supernets for condensec with PyTorch.

    supernet = Supernet(trained_network, densities=[0.05, 0.1, 0.2, 0.5, 1.0])
    Trainer(supernet, data, Options(epochs=10, rate=0.02), Path("runs"), "mine").run()
    onnx.save(to_onnx(supernet, example_input), "mine.onnx")

masks.py       nested block masks from one ranking
allocation.py  how the layers share a level's density
norms.py       batch norm per level
supernet.py    puts both into a network
sandwich.py    one training step over several levels
statistics.py  batch norm's statistics, accuracies
trainer.py     the loop, with checkpoint, log.py and processes.py
export.py      supernet ONNX
"""

from condense_torch.allocation import erdos_renyi, uniform
from condense_torch.export import to_onnx
from condense_torch.masks import Block, magnitude
from condense_torch.processes import Processes
from condense_torch.sandwich import distillation, sandwich_levels, sandwich_step
from condense_torch.statistics import accuracies, recalibrate
from condense_torch.supernet import Supernet, default_maskable
from condense_torch.trainer import Data, Options, Trainer

__all__ = [
    "Block",
    "Data",
    "Options",
    "Processes",
    "Supernet",
    "Trainer",
    "accuracies",
    "default_maskable",
    "distillation",
    "erdos_renyi",
    "magnitude",
    "recalibrate",
    "sandwich_levels",
    "sandwich_step",
    "to_onnx",
    "uniform",
]
