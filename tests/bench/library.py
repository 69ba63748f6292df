"""A shared library that condensec wrote, through its C interface.

Everything is read from the descriptor and the manifest beside the library, as any program could; the structures
are those of runtime/src/abi.rs.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
from ctypes import POINTER, Structure, c_char_p, c_double, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

import native
from thread_pool import ThreadPool

STATE_ALIGN = 64


class StepStruct(Structure):
    """`Step`."""

    _fields_ = [("kernel", c_void_p), ("arguments", c_void_p), ("node", c_char_p), ("n_tasks", c_size_t)]


class LevelStruct(Structure):
    """`Level`."""

    _fields_ = [
        ("name", c_char_p),
        ("steps", POINTER(StepStruct)),
        ("density", c_double),
        ("macs", c_uint64),
        ("weight_bytes", c_uint64),
        ("predicted_cycles", c_uint64),
    ]


class ModelStruct(Structure):
    """`Model`, as far as it is used here; a library may have more fields behind."""

    _fields_ = [
        ("abi_version", c_uint32),
        ("struct_bytes", c_uint32),
        ("name", c_char_p),
        ("target", c_char_p),
        ("cpu", c_char_p),
        ("backend", c_char_p),
        ("n_levels", c_uint32),
        ("n_inputs", c_uint32),
        ("n_outputs", c_uint32),
        ("n_steps", c_uint32),
        ("levels", POINTER(LevelStruct)),
        ("inputs", c_void_p),
        ("outputs", c_void_p),
        ("weights", c_void_p),
        ("weight_bytes", c_uint64),
        ("index_bytes", c_uint64),
        ("table_bytes", c_uint64),
        ("code_bytes", c_uint64),
        ("state_bytes", c_uint64),
        ("arena_offset", c_uint64),
    ]


class Library:
    """A library with one instance of its model, and memory for the model's inputs and outputs."""

    def __init__(self, folder: Path, pool: ThreadPool | None = None) -> None:
        """Loads what `condensec --emit shared -o FOLDER` wrote; runs go to the threads of `pool`."""
        self.path = single_library(folder).resolve()
        self.name = self.path.stem.removeprefix("lib")
        self.manifest: dict[str, Any] = json.loads((folder / f"{self.name}.json").read_text())
        library = ctypes.CDLL(str(self.path))
        find_model = library[f"{self.name}_model"]
        find_model.restype = POINTER(ModelStruct)
        self.model = find_model().contents
        self._set_level = library[f"{self.name}_set_level"]
        self._set_level.argtypes = [c_void_p, c_uint32]
        if pool is None:
            self._run = library[f"{self.name}_run"]
            self._run.argtypes = [c_void_p, c_void_p, c_void_p]
            self._pool_arguments = []
        else:
            self._run = library[f"{self.name}_run_parallel"]
            self._run.argtypes = [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]
            self._pool_arguments = [pool.parallel_for, pool.address]
        # The descriptor's own address gives the place where the library was loaded; see `symbols`.
        self._model_address = ctypes.addressof(self.model)

        self._memory = aligned(self.manifest["state_bytes"])
        state = c_void_p()
        init = library[f"{self.name}_init"]
        init.argtypes = [c_void_p, c_size_t, c_void_p]
        check(init(self._memory.ctypes.data, self._memory.nbytes, ctypes.addressof(state)), "init")
        self._state = state
        self.inputs = [np.zeros(port["shape"], np.float32) for port in self.manifest["inputs"]]
        self.outputs = [np.zeros(port["shape"], np.float32) for port in self.manifest["outputs"]]
        self._input_pointers = pointers(self.inputs)
        self._output_pointers = pointers(self.outputs)

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.manifest["levels"])

    def fill_inputs(self, seed: int = 1) -> dict[str, np.ndarray]:
        """Puts Gaussian noise into the inputs; returns them by name."""
        random = np.random.default_rng(seed)
        for array in self.inputs:
            array[...] = random.standard_normal(array.shape)
        return {port["name"]: array for port, array in zip(self.manifest["inputs"], self.inputs, strict=True)}

    def set_level(self, level: int) -> None:
        """Switches."""
        check(self._set_level(self._state, level), f"set_level({level})")

    def run(self) -> None:
        """One inference, from `inputs` to `outputs`."""
        check(self._run(self._state, self._input_pointers, self._output_pointers, *self._pool_arguments), "run")

    def bases(self) -> ctypes.Array[c_void_p]:
        """What `run` hands to every kernel: the activation arena, the inputs, the outputs."""
        arena = self._memory.ctypes.data + self.model.arena_offset
        buffers = [array.ctypes.data for array in [*self.inputs, *self.outputs]]
        return (c_void_p * (1 + len(buffers)))(arena, *buffers)

    def steps(self, level: int) -> list[StepStruct]:
        """The step table of a level."""
        first = self.model.levels[level].steps
        return [first[i] for i in range(self.model.n_steps)]

    def switch_ns(self, n_loops: int = 101, n_calls: int = 1_000_000) -> np.ndarray:
        """Nanoseconds of a `set_level`, the mean of each loop of calls."""
        ns = np.zeros(n_loops)
        switch_cost = native.load("switch_cost.c").switch_cost
        switch_cost.argtypes = [c_void_p, c_void_p, c_uint32, c_int, c_int, c_void_p]
        set_level = ctypes.cast(self._set_level, c_void_p)
        check(switch_cost(set_level, self._state, self.n_levels, n_loops, n_calls, ns.ctypes.data), "set_level")
        return ns

    def symbols(self) -> dict[int, str]:
        """Names of the library's functions by address in this process, without the model's prefix.

        Kernels are local symbols, which the loader does not know; `nm` reads them from the file.
        """
        listing = subprocess.run(["nm", self.path], capture_output=True, text=True, check=True).stdout
        by_name = {fields[2]: int(fields[0], 16) for line in listing.splitlines() if len(fields := line.split()) == 3}
        loaded_at = self._model_address - by_name[f"{self.name}__descriptor"]
        prefix = f"{self.name}__"
        return {loaded_at + at: name.removeprefix(prefix) for name, at in by_name.items() if name.startswith(prefix)}


def single_library(folder: Path) -> Path:
    """The one shared library in `folder`."""
    found = sorted(folder.glob("lib*.so"))
    if len(found) != 1:
        raise SystemExit(f"{folder}: expected one lib*.so, found {len(found)}; compile with --emit shared")
    return found[0]


def check(status: int, call: str) -> None:
    """Raises where the library refused a call."""
    if status != 0:
        raise RuntimeError(f"{call}: status {status}")


def aligned(n_bytes: int) -> np.ndarray:
    """Memory for an instance."""
    memory = np.zeros(n_bytes + STATE_ALIGN, np.uint8)
    begin = -memory.ctypes.data % STATE_ALIGN
    return memory[begin : begin + n_bytes]


def pointers(arrays: list[np.ndarray]) -> ctypes.Array[c_void_p]:
    """The arrays' addresses as C wants them."""
    return (c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
