"""How large the runtime crate is without std: the governor, and the policy of runs with a deadline.

As a program, prints code and constants in bytes for this machine and for those without an operating system whose `core`
is installed (`rustup target add thumbv7em-none-eabihf aarch64-unknown-none`). Where that for AArch64 is not, llc makes
its code of the same LLVM IR; both are 64-bit machines with the same layouts.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "target/runtime-bare"
TARGETS = ["thumbv7em-none-eabihf", "aarch64-unknown-none"]
LLC = ["/usr/lib/llvm-22/bin/llc", "llc"]


STATIC_LIBRARY = ["--features", "panic-handler", "--crate-type", "staticlib"]


def _cargo(args: list[str], rustc_args: list[str]) -> None:
    cargo = os.environ.get("CARGO", "cargo")
    crate = ["-p", "condensec-runtime", "--target-dir", FOLDER]
    command = [cargo, "rustc", "--release", "--quiet", *crate, *args, "--", *rustc_args]
    subprocess.run(command, cwd=ROOT, check=True)


def _size(objects: list[Path]) -> str:
    """Bytes of code and constants, without the tables that unwind a stack."""
    listing = subprocess.run(["size", "-A", "-d", *objects], capture_output=True, text=True, check=True).stdout
    kinds = {".text": 0, ".rodata": 0, ".data": 0, ".bss": 0}
    for line in listing.splitlines():
        fields = line.split()
        for kind in kinds:
            if len(fields) == 3 and fields[0].startswith(kind):
                kinds[kind] += int(fields[1])
    code, constants, variables = kinds[".text"], kinds[".rodata"], kinds[".data"] + kinds[".bss"]
    return f"{code} bytes of code, {constants} of constants, {variables} of variables"


def _of_archive(archive: Path) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(["ar", "x", archive], cwd=temporary, check=True)
        return _size(sorted(Path(temporary).glob("condensec_runtime*.o")))


def _is_installed(target: str) -> bool:
    command = ["rustc", "--print", "target-libdir", "--target", target]
    folder = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return bool(folder) and Path(folder).is_dir()


def _aarch64_by_llc() -> str | None:
    # Without the panic handler, which has an instruction of x86.
    _cargo(["--crate-type", "rlib"], ["-C", "panic=abort", "--emit", "llvm-ir"])
    sources = sorted((FOLDER / "release/deps").glob("condensec_runtime*.ll"), key=lambda path: path.stat().st_mtime)
    text = sources[-1].read_text()
    # What is said of the machine that this runs on.
    text = re.sub(r'^target (triple|datalayout) = .*$', "", text, flags=re.M)
    text = re.sub(r'"(target-cpu|target-features|probe-stack|tune-cpu)"="[^"]*"', "", text)
    with tempfile.TemporaryDirectory() as temporary:
        source, made = Path(temporary) / "runtime.ll", Path(temporary) / "runtime.o"
        source.write_text(text)
        for llc in LLC:
            command = [llc, "-O2", "-mtriple=aarch64-none-elf", "-filetype=obj", source, "-o", made]
            try:
                subprocess.run(command, check=True)
            except FileNotFoundError:
                continue
            return _size([made])
    return None


def report() -> Iterator[str]:
    """One line per machine."""
    yield "The runtime crate without std (governor, and runs with a deadline):"
    _cargo(STATIC_LIBRARY, ["-C", "panic=abort"])
    yield f"  this machine: {_of_archive(FOLDER / 'release/libcondensec_runtime.a')}"
    for target in TARGETS:
        if _is_installed(target):
            _cargo([*STATIC_LIBRARY, "--target", target], [])
            yield f"  {target}: {_of_archive(FOLDER / target / 'release/libcondensec_runtime.a')}"
        elif target.startswith("aarch64") and (size := _aarch64_by_llc()):
            yield f"  aarch64, by llc: {size}"
        else:
            yield f"  skipped: {target} (rustup target add {target})"


if __name__ == "__main__":
    for line in report():
        print(line)
