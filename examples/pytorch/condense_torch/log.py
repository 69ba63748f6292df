"""Losses and accuracies of a run, a row per epoch, as CSV and as a plot."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # Draws to files; needs no display.

from matplotlib import pyplot  # noqa: E402  (after the choice above)

Row = dict[str, str | int | float]


@dataclass
class Log:
    """`levels` are the levels' names, L0 first."""

    levels: list[str]
    rows: list[Row] = field(default_factory=list)

    def add(self, phase: str, epoch: int, losses: dict[int, float], accuracies: list[float]) -> None:
        """A row; levels that were not trained have no loss."""
        row: Row = {"phase": phase, "epoch": epoch}
        row |= {f"loss_{self.levels[k]}": round(loss, 5) for k, loss in losses.items()}
        row |= {f"top1_{name}": accuracy for name, accuracy in zip(self.levels, accuracies, strict=True)}
        self.rows.append(row)

    def last_accuracies(self) -> list[float]:
        """Those of the last row, L0 first."""
        return [float(self.rows[-1][f"top1_{name}"]) for name in self.levels]

    def last_line(self) -> str:
        """The last row for a person to read."""
        row = self.rows[-1]
        accuracies = " ".join(f"{name} {float(row[f'top1_{name}']):.4f}" for name in self.levels)
        loss = row.get(f"loss_{self.levels[-1]}")
        return f"{row['phase']} {row['epoch']}: loss {'-' if loss is None else format(loss, '.4f')}, top-1 {accuracies}"

    def write_csv(self, path: Path) -> None:
        """All rows; what was not measured is empty."""
        columns = ["phase", "epoch", *(f"{kind}_{name}" for kind in ("loss", "top1") for name in self.levels)]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def write_plot(self, path: Path, title: str) -> None:
        """Loss and accuracy over the epochs, a line per level."""
        figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
        for axis, kind, label in zip(axes, ("loss", "top1"), ("training loss", "test accuracy"), strict=True):
            for name in self.levels:
                points = [(row["epoch"], row[f"{kind}_{name}"]) for row in self.rows if f"{kind}_{name}" in row]
                axis.plot([x for x, _ in points], [y for _, y in points], marker=".", label=name)
            axis.set_xlabel("epoch")
            axis.set_ylabel(label)
        axes[0].legend(title="level")
        figure.suptitle(title)
        figure.savefig(path)
        pyplot.close(figure)
