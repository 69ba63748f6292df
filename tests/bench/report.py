"""The tables of a comparison and its raw results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fma_peak import FmaPeak
from turns import Entrant

REFERENCE = "onnxruntime"


def summary(entrant: Entrant, clock: str) -> dict[str, float]:
    """Milliseconds by `clock`, `cpu` or `wall`."""
    ms = np.array(getattr(entrant, f"{clock}_ns")) / 1e6
    return {
        "min_ms": float(ms.min()),
        "median_ms": float(np.median(ms)),
        "median_first_ms": float(np.median(ms[:, 0])),
        "median_next_ms": float(np.median(ms[:, 1:])),
    }


def rows(entrants: list[Entrant], clock: str, peak: FmaPeak, n_threads: int) -> list[dict[str, Any]]:
    """Every entrant with its times and what they mean, peers first."""
    times = {entrant.title: summary(entrant, clock) for entrant in entrants}
    peers = [entrant for entrant in entrants if not entrant.is_ours]
    reference = next((e for e in peers if e.engine == REFERENCE and e.masks == "dense"), None)
    result = []
    for entrant in sorted(entrants, key=lambda e: e.is_ours):
        own = times[entrant.title]
        row: dict[str, Any] = {
            "title": entrant.title,
            "engine": entrant.engine,
            "is_ours": entrant.is_ours,
            "masks": entrant.masks,
            "level": entrant.level,
            "density": entrant.density,
            "macs": entrant.macs,
            **own,
            "gflops": 2e-6 * entrant.macs / own["min_ms"],
            "share_of_peak": peak.share(entrant.macs / n_threads, own["min_ms"] * 1e-3),
            "error": entrant.error,
        }
        if reference:
            row["speedup_min"] = times[reference.title]["min_ms"] / own["min_ms"]
            row["speedup_median"] = times[reference.title]["median_ms"] / own["median_ms"]
        # A peer may answer a level with its dense network, or with a sparse one of that density, whatever the masks.
        rivals = [peer for peer in peers if peer.masks == "dense" or peer.level == entrant.level]
        if entrant.is_ours and rivals:
            best = min(rivals, key=lambda peer: times[peer.title]["min_ms"])
            row["best_peer"] = best.title
            row["speedup_over_best_peer"] = times[best.title]["min_ms"] / own["min_ms"]
        result.append(row)
    return result


def number(value: float | None, form: str) -> str:
    """A cell that may be empty."""
    return "" if value is None else format(value, form)


def table(report: dict[str, Any]) -> Iterator[str]:
    """The comparison as lines of text."""
    machine = report["machine"]
    what = "CPU time" if report["clock"] == "cpu" else "wall time"
    cores = ",".join(map(str, machine["used_cores"]))
    yield (
        f"{report['network']}: {machine['cpu']} ({' '.join(machine['vector'])}), core {cores}, "
        f"{report['threads']} thread{'s' * (report['threads'] > 1)}, {report['rounds']} rounds, {what}"
    )
    yield ", ".join(f"{engine} {version}" for engine, version in report["versions"].items())
    yield "FMA peak of a core: " + ", ".join(
        f"{entry['max_gflops']:.1f} GFLOP/s with {entry['vector_bits']}-bit vectors" for entry in report["fma_peak"]
    )
    width = max(len(row["title"]) for row in report["rows"]) + 1
    yield (
        f"{'':{width}}{'density':>8}{'min ms':>10}{'median':>10}{'x ORT':>8}{'median':>8}{'GFLOP/s':>9}{'peak':>6}"
        f"{'first/next':>11}{'error':>9}  over the best peer"
    )
    for row in report["rows"]:
        share = row["share_of_peak"]
        over = f"{row['speedup_over_best_peer']:.2f} x {row['best_peer']}" if "best_peer" in row else ""
        yield (
            f"{row['title']:{width}}{row['density']:8.3f}{row['min_ms']:10.3f}{row['median_ms']:10.3f}"
            f"{number(row.get('speedup_min'), '8.2f'):>8}{number(row.get('speedup_median'), '8.2f'):>8}"
            f"{row['gflops']:9.1f}{'' if share is None else f'{100 * share:.0f}%':>6}"
            f"{row['median_first_ms'] / row['median_next_ms']:11.3f}{number(row['error'], '.0e'):>9}  {over}"
        ).rstrip()
    lost: dict[str, list[str]] = {}
    for row in report["rows"]:
        if row.get("speedup_over_best_peer", 1) < 1:
            lost.setdefault(f"{row['engine']} {row['masks']}", []).append(row["level"])
    yield from (f"slower than the best peer: {name} at {', '.join(levels)}" for name, levels in lost.items())
    yield from (f"skipped: {reason}" for reason in report["skipped"])
    for build in report["builds"]:
        yield from build_lines(build)
    yield from footprint_lines(report["footprints"])


def build_lines(build: dict[str, Any]) -> Iterator[str]:
    """What a library of ours is beside its speed."""
    target, compiled, stored = build["target"], build["compile"], build["bytes"]
    yield (
        f"condensec {build['masks']} {build['build']} ({target['cpu']}, {target['backend']}): switch "
        f"{build['switch']['median_ns']:.1f} ns; compiled in {compiled['wall_s']:.2f} s with "
        f"{compiled['max_rss_bytes'] / 2**20:.0f} MiB; archive {build['archive']['bytes']['file'] / 1e6:.1f} MB, code "
        f"{stored['code'] / 1e3:.0f} kB, state {build['state_bytes'] / 1e6:.2f} MB; weights "
        f"{stored['weights'] / 1e6:.2f} MB + indices {stored['indices'] / 1e6:.2f} MB + tables "
        f"{stored['tables'] / 1e6:.2f} MB = {build['stored_share_of_dense']:.3f} x dense f32; undefined: "
        f"{' '.join(build['archive']['undefined']) or 'none'}"
    )


def footprint_lines(footprints: list[dict[str, Any]]) -> Iterator[str]:
    """The table of what it costs to hold all levels."""
    if not footprints:
        return
    yield (
        f"{'all levels ready':18}{'levels':>7}{'memory MiB':>12}{'at most':>9}{'load ms':>10}{'per level':>11}"
        f"{'first run ms':>14}"
    )
    for entry in footprints:
        yield (
            f"{entry['engine']:18}{entry['n_levels']:7}{entry['rss_bytes'] / 2**20:12.1f}"
            f"{entry['peak_rss_bytes'] / 2**20:9.1f}{sum(entry['load_ms']):10.1f}{np.mean(entry['load_ms']):11.2f}"
            f"{entry['first_run_ms'][0]:14.2f}"
        )
