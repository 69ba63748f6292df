"""What `condensec nest` takes for a network of ImageNet's size: time, CPU time and peak memory.

The network comes from the model zoo with seeded weights, the calibration inputs are normally distributed noise. Neither
matters to the cost, which follows from the shapes; there is no accuracy to speak of.

    python tests/bench/nest_cost.py
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import machine

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "target" / "release"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--condensec", default=str(RELEASE / "condensec"))
    parser.add_argument("--model-zoo", default=str(RELEASE / "model-zoo"))
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--sparsity", default="0.9,0.8,0.7,0.5,0", help="one number per level")
    parser.add_argument("--block", default="4x1")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / f"{options.network}.onnx"
        subprocess.run([options.model_zoo, options.network, "--dense", "-o", model], check=True, capture_output=True)
        noise = np.random.default_rng(0).standard_normal((options.samples, 3, 224, 224), dtype=np.float32)
        np.savez(folder / "noise.npz", x=noise)
        command = [options.condensec, "nest", model, "--calibrate", folder / "noise.npz", "--json"]
        command += ["--sparsity", options.sparsity, "--block", options.block, "-o", folder / "supernet.onnx"]
        environment = {**os.environ, "RAYON_NUM_THREADS": str(options.threads)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - start
        if ran.returncode != 0:
            sys.exit(ran.stderr)
        # The zoo is a child, too, but small. Linux counts kilobytes.
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = json.loads(ran.stdout)

    cpu_seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(f"{options.network}, {len(report['levels'])} levels, blocks {options.block}, {report['samples']} inputs")
    print(f"{machine.cpu_model()}, {options.threads} of {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    print(f"time        {seconds:7.0f} s")
    print(f"CPU time    {cpu_seconds:7.0f} s")
    print(f"peak memory {used.ru_maxrss / 2**20:7.2f} GiB")


if __name__ == "__main__":
    main()
