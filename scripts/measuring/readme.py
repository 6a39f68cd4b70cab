"""The README's table of other encoders, made from `benches/results/cpu_trimmed.json`, `cpu.json` and `dinov2_cpu.json` between two
comments. Needs only Python."""

import json

from .machine import RESULTS, ROOT

BEGIN = "<!-- made by scripts/bench_rivals.py --readme -->\n"
END = "<!-- end of the table -->\n"
FIGURES, TRIMMED, DINOV2 = RESULTS / "cpu.json", RESULTS / "cpu_trimmed.json", RESULTS / "dinov2_cpu.json"
FILES = [("as exported", FIGURES), ("trimmed", TRIMMED), ("DINOv2", DINOV2)]
WORDS = {
    "inctrl": "**inctrl**, frame to score; rivals as exported",
    "pytorch": "PyTorch {}, encoder alone",
    "torch.compile": "torch.compile {}, encoder alone",
    "onnxruntime": "ONNX Runtime {}, encoder alone",
    "openvino": "OpenVINO {}, encoder alone",
}


def dinov2_row(figures, sizes):
    """The row of AnomalyDINO beside the fastest encoder and faiss together."""
    rows, _ = figures["bank"]
    fastest = max(figures["fastest_rivals"], key=figures["fastest_rivals"].count)
    rival = WORDS[fastest].format(figures["versions"][fastest]).removesuffix(", encoder alone")
    words = f"**inctrl**, `anomaly-dino`, {figures['arch']}, {figures['size']} pixels, {rows:,} rows; rivals: {rival}'s encoder + faiss"
    cell = f"{figures['ratio']['frame over fastest and faiss']:.2f} ({figures['median_ms']['inctrl']:.0f} ms)"
    return "| " + " | ".join([words, cell, *[""] * (len(sizes) - 1)]) + " |"


def table(figures, trimmed, dinov2):
    """Lines of Markdown: first beside encoders that are trimmed to what is read of them, then as they are exported, of which the
    faster of PyTorch's two is shown, then of DINOv2."""
    sizes = list(figures["batches"])
    heads = ["one frame per call" if size == "1" else f"batches of {size}, per frame" for size in sizes]
    lines = ["| " + " | ".join(["time relative to the fastest encoder alone", *heads]) + " |", "|---" * (1 + len(sizes)) + "|"]

    def row(words, name, batches):
        cells = []
        for size in sizes:
            batch = batches[size]
            known = name in batch["ratio"]
            cells.append(f"{batch['ratio'][name]:.2f} ({batch['median_ms_per_image'][name]:.0f} ms)" if known else "")
        lines.append("| " + " | ".join([words, *cells]) + " |")

    row("**inctrl**, frame to score; rivals trimmed to the class token, like inctrl", "inctrl", trimmed["batches"])
    first = figures["batches"][sizes[0]]["ratio"]
    slower = max("pytorch", "torch.compile", key=first.get)
    for name in sorted(first.keys() & WORDS.keys() - {slower}, key=first.get):
        row(WORDS[name].format(figures["versions"].get(name, "")), name, figures["batches"])
    lines.append(dinov2_row(dinov2, sizes))
    machine, repeats, threads = figures["machine"], figures["repeats"], figures["threads"]
    threads = "one thread" if threads == 1 else f"{threads} threads"
    what = f"{machine['cpu']}, {machine['system']}, {threads}, f32, {figures['arch']}"
    runs = "one repeat" if repeats == 1 else f"{repeats} repeats"
    lines += ["", f"{what}; inctrl with a bank of K = {figures['prompts']}; medians of paired ratios over {runs}, in shuffled order"]
    files = [f"[{words}]({path.relative_to(ROOT)})" for words, path in FILES]
    lines += [f"({', '.join(files)}, [how](docs/cpu.md))."]
    return lines


def readme(text, *figures):
    """The README with the table of these figures."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + "\n" + "\n".join(table(*figures)) + "\n\n" + END + after


def unfit(figures, trimmed, dinov2):
    """Why these figures would flatter, or None: a rival is missing, or the encoders are not those that the text says."""
    first, second = FIGURES.relative_to(ROOT), TRIMMED.relative_to(ROOT)
    if figures["trimmed"] or not trimmed["trimmed"]:
        return f"{first} or {second} has the figures of the other"
    rivals = {name for name in WORDS if not name.startswith("inctrl")}
    for size, batch in figures["batches"].items():
        there = trimmed["batches"][size]["ratio"]
        for file, missing in (first, rivals - batch["ratio"].keys()), (second, set(batch["fastest_rivals"]) - there.keys()):
            if missing:
                return f"{file} lacks {', '.join(sorted(missing))} in batches of {size}"
    if missing := rivals - dinov2["versions"].keys():
        return f"{DINOV2.relative_to(ROOT)} lacks {', '.join(sorted(missing))}"
    if dinov2["machine"] != figures["machine"] or dinov2["threads"] != figures["threads"]:
        return f"{DINOV2.relative_to(ROOT)} is of another machine or number of threads than {first}"
    return None


def update(check):
    """Writes the table, or says whether it is the one that the figures give."""
    target = ROOT / "README.md"
    text = target.read_text()
    for path, option in ((FIGURES, ""), (TRIMMED, " --trimmed"), (DINOV2, " --arch dinov2-vit-s-14")):
        file = path.relative_to(ROOT)
        if not path.exists():
            return f"{file} is not there: run scripts/bench_rivals.py{option} --json {file}"
    figures = [json.loads(path.read_text()) for _, path in FILES]
    if reason := unfit(*figures):
        return reason
    wanted = readme(text, *figures)
    if check and wanted != text:
        return f"README.md's table is not that of {FIGURES.relative_to(ROOT)}: run scripts/bench_rivals.py --readme"
    if not check:
        target.write_text(wanted)
    return None
