"""The README's table of the rivals, made from `benches/results/cpu.json` between two comments, and below it a line from that of
`--trimmed`. Needs nothing but Python."""

import json

from .machine import RESULTS, ROOT

BEGIN = "<!-- made by scripts/bench_rivals.py --readme -->\n"
END = "<!-- end of the table -->\n"
FIGURES, TRIMMED = RESULTS / "cpu.json", RESULTS / "cpu_trimmed.json"
WORDS = {
    "inctrl": "**inctrl**: decoded frame to score",
    "inctrl score -": "`inctrl score -`: file to row",
    "pytorch": "PyTorch {}, encoder alone",
    "torch.compile": "torch.compile {}, encoder alone",
    "onnxruntime": "ONNX Runtime {}, encoder alone",
    "openvino": "OpenVINO {}, encoder alone",
}


def table(figures, trimmed):
    """Lines of Markdown, the ratio first."""
    sizes = list(figures["batches"])
    heads = ["one frame a call" if size == "1" else f"batches of {size}, a frame" for size in sizes]
    lines = [" | ".join(["| time over that of the fastest encoder alone", *heads]) + " |", "|---" * (1 + len(sizes)) + "|"]
    first = figures["batches"][sizes[0]]["ratio"]
    for name in sorted(first, key=first.get):
        cells = []
        for size in sizes:
            batch = figures["batches"][size]
            known = name in batch["ratio"]
            cells.append(f"{batch['ratio'][name]:.2f} ({batch['median_ms_per_image'][name]:.0f} ms)" if known else "")
        words = WORDS[name].format(figures["versions"].get(name, ""))
        lines.append(" | ".join([f"| {words}", *cells]) + " |")
    machine, repeats, threads = figures["machine"], figures["repeats"], figures["threads"]
    threads = "one thread" if threads == 1 else f"{threads} threads"
    what = f"{machine['cpu']}, {machine['system']}, {threads}, f32, {figures['arch']}"
    bank = f"a bank of K = {figures['prompts']}"
    runs = "one repeat" if repeats == 1 else f"{repeats} repeats"
    lines += ["", f"{what}; inctrl with {bank}. Medians of the ratios of {runs}, all contestants taking turns in one run."]
    ratios = " and ".join(f"{batch['ratio']['inctrl']:.2f}" for batch in trimmed["batches"].values())
    lines += ["The encoders run as they are exported. Of the last block inctrl computes the class token alone, as nothing else of it"]
    lines += [f"is read; beside encoders that are trimmed likewise its ratios are [{ratios}]({TRIMMED.relative_to(ROOT)})."]
    return lines


def readme(text, figures, trimmed):
    """The README with the table of these figures."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + "\n" + "\n".join(table(figures, trimmed)) + "\n\n" + END + after


def unfit(figures, trimmed):
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
    return None


def update(check):
    """Writes the table, or says whether it is the one that the figures give."""
    target = ROOT / "README.md"
    text = target.read_text()
    for path, option in ((FIGURES, ""), (TRIMMED, " --trimmed")):
        file = path.relative_to(ROOT)
        if not path.exists():
            return f"{file} is not there: run scripts/bench_rivals.py{option} --json {file}"
    figures, trimmed = json.loads(FIGURES.read_text()), json.loads(TRIMMED.read_text())
    if reason := unfit(figures, trimmed):
        return reason
    wanted = readme(text, figures, trimmed)
    if check and wanted != text:
        return f"README.md's table is not that of {FIGURES.relative_to(ROOT)}: run scripts/bench_rivals.py --readme"
    if not check:
        target.write_text(wanted)
    return None
