"""Runs the PTX of the kernels on a CPU, instruction by instruction.

The emulator of the tests compiles the same sources for the CPU. It does not run the parts of `cu.cuh` for the device (inline
assembly, fragments of tensor cores, asynchronous copies, shuffles), nor the code that nvcc generates. This package runs them.
It does not cover ptxas, the order of memory between blocks, the rounding inside tensor cores, and time.

| file | job |
|---|---|
| `parser.py` | PTX text to instructions |
| `memory.py` | the device's memory with its allocations, a block's shared memory with its races |
| `machine.py` | warps, divergence, barriers, schedules |
| `operands.py`, `arithmetic.py`, `transfers.py`, `warp.py` | what each instruction does |
| `launch.py` | one launch of a kernel, and what it must leave in memory |
| `cases/` | the launches of every kernel, and their references in f64 |
| `source.py` | the kernels that ship, through nvcc |
| `faults.py`, `planting.py` | faults in what only the device executes, and the run that must see each |
| `selftest.py`, `refusals.py` | instructions against formulas of their own, programs that must be refused |
"""
