"""PTX text to the instructions of its kernels."""

import re
from dataclasses import dataclass, field

import numpy as np

# Registers by the type in which they are declared.
REGISTERS = {
    "pred": np.dtype(bool),
    "b16": np.dtype(np.uint16),
    "b32": np.dtype(np.uint32),
    "b64": np.dtype(np.uint64),
    "f32": np.dtype(np.float32),
}
SPECIAL = re.compile(r"%(tid|ntid|ctaid|nctaid)\.[xyz]")


class Fault(Exception):
    """What a kernel does wrong, or what is not understood of it."""


@dataclass
class Instruction:
    """One instruction: `@guard opcode operands`."""

    line: int
    text: str
    opcode: str
    operands: list
    # The predicate's register and whether it is negated; None where the instruction is always executed.
    guard: tuple | None
    # What `machine.py` calls; set once the whole kernel is known.
    step: object = None


@dataclass
class Kernel:
    """One `.entry`."""

    name: str
    # (name, offset, bytes) of each parameter.
    parameters: list
    # Threads of a block, from `.maxntid`.
    threads: int | None
    code: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)
    # Register name to (place, type).
    registers: dict = field(default_factory=dict)
    text: str = ""

    @property
    def parameter_bytes(self):
        _, offset, size = self.parameters[-1] if self.parameters else ("", 0, 0)
        return offset + size

    def declare(self, name, kind, line):
        if kind not in REGISTERS:
            raise Fault(f"line {line}: registers of type .{kind} are not known")
        if name not in self.registers:
            self.registers[name] = (len(self.registers), REGISTERS[kind])


def split(text):
    """Operands, separated by commas outside brackets."""
    parts, depth, part = [], 0, ""
    for letter in text:
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += letter
    return [*parts, part.strip()] if part.strip() else parts


def parameters(text):
    found, offset = [], 0
    for declared in re.findall(r"\.param\s+([^\n,]+)", text):
        match = re.fullmatch(r"(?:\.align (\d+) )?\.(?:[a-z])(\d+)\s+(\w+)(?:\[(\d+)\])?", declared.strip())
        if not match:
            raise Fault(f"parameter `{declared}` is not understood")
        each = int(match[2]) // 8
        size, align = each * int(match[4] or 1), int(match[1] or each)
        offset = -(-offset // align) * align
        found.append((match[3], offset, size))
        offset += size
    return found


def instruction(statement, line):
    guard, text = None, statement
    if match := re.match(r"@(!?)(%\w+)\s+(.*)", statement):
        guard, statement = (match[2], match[1] == "!"), match[3]
    opcode, _, rest = statement.replace("\t", " ").partition(" ")
    return Instruction(line, " ".join(text.split()), opcode, split(rest), guard)


def parse(text):
    """Kernel name to [`Kernel`]."""
    kernels = {}
    for match in re.finditer(r"\.entry (\w+)\((.*?)\)\s*\n(.*?)^\{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE):
        threads = re.search(r"\.maxntid (\d+), 1, 1", match[3])
        kernel = Kernel(match[1], parameters(match[2]), int(threads[1]) if threads else None)
        kernel.text = match[0]
        first = text.count("\n", 0, match.start(4)) + 1
        for number, line in enumerate(match[4].split("\n"), first):
            for statement in line.split("//")[0].split(";"):
                read(kernel, statement.strip(), number)
        kernels[kernel.name] = kernel
    return kernels


def read(kernel, statement, line):
    # A scope of inline assembly; its registers have names of their own.
    statement = statement.removeprefix("{").removesuffix("}" if statement == "}" else "").strip()
    if label := re.fullmatch(r"(\$\w+):", statement):
        kernel.labels[label[1]] = len(kernel.code)
    elif declared := re.fullmatch(r"\.reg\s+\.(\w+)\s+(%\w+?)(?:<(\d+)>)?", statement):
        names = [declared[2]] if declared[3] is None else [f"{declared[2]}{i}" for i in range(int(declared[3]))]
        for name in names:
            kernel.declare(name, declared[1], line)
    elif statement and not statement.startswith((".pragma", ".loc")):
        if statement.startswith("."):
            raise Fault(f"line {line}: `{statement}` is not understood")
        kernel.code.append(instruction(statement, line))
