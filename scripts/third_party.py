#!/usr/bin/env python3
"""Writes the licences of everything that is linked into the released program and libraries.

    scripts/third_party.py OUT

One text: each crate with its version, its licence expression and the licence files in its sources, and the data in this
repository that others wrote. Identical texts are written once.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = re.compile(r"(?i)^(un)?(licen[cs]e|copying|copyright|notice)")
# Data in this repository that others wrote, with its licence.
OWN = {"CLIP's merge table (src/text/merges.txt)": ROOT / "src/text/merges.LICENSE"}


def linked():
    """The crates that are linked: all dependencies except those of tests and build scripts."""
    host = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    target = re.search(r"^host: (.*)$", host, re.M).group(1)
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    graph = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    todo, seen = list(graph["workspace_members"]), set()
    while todo:
        crate = todo.pop()
        if crate not in seen:
            seen.add(crate)
            todo += [dep["pkg"] for dep in nodes[crate]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
    packages = [package for package in graph["packages"] if package["id"] in seen and package["source"]]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def texts(package):
    """The licence files of a crate, and of C code that it holds."""
    folder = Path(package["manifest_path"]).parent
    files = [path for place in (folder, folder / "vendor") if place.is_dir() for path in sorted(place.iterdir())]
    named = package.get("license_file")
    files = [path for path in files if path.is_file() and (NAMES.match(path.name) or path.name == named)]
    return [path.read_text(errors="replace").strip() for path in files]


def main():
    """Writes the text."""
    [out] = sys.argv[1:]
    first, parts = {}, []
    entries = [(f"{p['name']} {p['version']} ({p['license'] or 'licence below'})", texts(p)) for p in linked()]
    entries += [(name, [path.read_text().strip()]) for name, path in OWN.items()]
    for title, found in entries:
        parts.append(f"{'=' * 80}\n{title}\n{'=' * 80}")
        if not found:
            parts.append("Its sources hold no licence text; the expression above is its authors' statement.")
        for text in found:
            key = " ".join(text.split())
            parts.append(text if first.setdefault(key, title) == title else f"As for {first[key]}.")
    Path(out).write_text("\n\n".join(parts) + "\n")
    print(f"{len(entries)} licences in {out}")


if __name__ == "__main__":
    main()
