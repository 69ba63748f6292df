"""The training loop: learning, checkpoints, logs."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from condense_torch import Options, Supernet, Trainer
from networks import ConvNet, bars_data

OPTIONS = Options(epochs=4, rate=0.1)


def trainer(folder: Path, options: Options = OPTIONS) -> Trainer:
    """A run of a fresh network, the same each time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Trainer(Supernet(ConvNet(), [0.3, 0.5, 1.0]), bars_data(), options, folder, "bars")


def test_every_level_learns(tmp_path: Path) -> None:
    # One label in four by chance.
    assert min(trainer(tmp_path, replace(OPTIONS, epochs=8)).run()) > 0.6


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    stopped = trainer(tmp_path / "stopped")
    batches = stopped.data.train
    stopped.data = replace(stopped.data, train=lambda epoch: batches(epoch) if epoch < 2 else interrupt())
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = trainer(tmp_path / "stopped")
    resumed.run()
    for name, values in whole.supernet.state_dict().items():
        assert torch.equal(values, resumed.supernet.state_dict()[name]), name
    assert whole.log.rows == resumed.log.rows


def interrupt() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ctrl-C in the middle of a run."""
    raise KeyboardInterrupt


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    expected = trainer(tmp_path).run()
    again = trainer(tmp_path)
    again.data = replace(again.data, train=lambda _: interrupt())
    assert again.run() == expected


def test_a_checkpoint_of_other_options_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, replace(OPTIONS, epochs=1)).run()
    with pytest.raises(ValueError, match="'epochs': 1"):
        trainer(tmp_path).run()


def test_log_and_plot(tmp_path: Path) -> None:
    accuracies = trainer(tmp_path).run()
    with (tmp_path / "bars.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["trained"] * 4 + ["recalibrated"]
    assert [float(rows[-1][f"top1_{name}"]) for name in ("d0.3", "d0.5", "d1")] == accuracies
    assert float(rows[3]["loss_d1"]) < float(rows[0]["loss_d1"])
    assert rows[4]["loss_d1"] == ""
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
