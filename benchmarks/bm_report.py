"""How long a report of 10,000 rows takes to open, and how large it is.

    python benchmarks/bm_report.py [--models 500] [--columns 20] [--out DIR]

Makes up rows by a stated seed (500 models of all families by two accuracies and 18 costs, those of time with samples),
writes the report and opens its page in headless Chromium, which must be there (`--chromium`). Prints JSON lines: the
bytes of the page, and the median of some loads of what Chromium's own clock says, in milliseconds since the page was
asked for: its `load` event, and when all figures that are then in the window (1280 x 1600) have been drawn. A copy of
the page is measured, with a script added that tells these times to a server of this process, and without the policy
that would forbid it. The report's pictures (SVG, PNG) are left out, for they do not belong to the page.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from paired import emit, environment
from script import script

from paretovit import Store
from paretovit.measurement import Conditions, Measurement, Origin, median
from paretovit.report import page
from paretovit.spec import ModelSpec, Part, Stage

SEED = 0
MIXERS = ("attention", "linformer", "performer", "fnet", "synthesizer_random", "shifted_window", "conv_attention")
COSTS = {
    "latency_s": "s", "images_per_s": "1/s", "macs": "1", "params": "1", "activations": "1", "bytes_moved": "B",
    "elementwise_ops": "1", "chain_depth": "1", "peak_bytes_infer": "B", "peak_bytes_train": "B", "train_step_s": "s",
    "train_images_per_s": "1/s", "latency_p90_s": "s", "latency_p99_s": "s", "cold_start_s": "s", "energy_j": "J",
    "artifact_bytes": "B", "compile_s": "s",
}  # fmt: skip
ROUNDS, REPEATS = 9, 3
TIMEOUT_S = 60

# Told by the page: when it was loaded, and when every figure in the window had a drawing.
TELL = """<script>
addEventListener("load", () => {
  const inView = () => [...document.querySelectorAll(".figure")].filter((f) => {
    const { top, bottom } = f.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  });
  const wait = () => {
    if (!inView().every((f) => f.querySelector("svg"))) return setTimeout(wait, 5);
    const [entry] = performance.getEntriesByType("navigation");
    const told = { load_ms: entry.loadEventStart, drawn_ms: performance.now(), figures_in_window: inView().length };
    fetch("http://127.0.0.1:PORT/", { method: "POST", mode: "no-cors", body: JSON.stringify(told) });
  };
  wait();
});
</script>"""


def made_up(models: int, columns: int) -> tuple[list[Measurement], list[ModelSpec]]:
    """A row for every model and column, the same for the same seed."""
    chance = random.Random(SEED)
    rows, specs = [], []
    device = {"device": "made up, 2 cores", "runtime": "torch_eager", "dtype": "float32", "threads": 2}
    for at in range(models):
        mixer = Part(MIXERS[at % len(MIXERS)])
        stage = Stage(depth=2 + at // len(MIXERS), dim=64, heads=2, mixer=mixer)
        spec = ModelSpec(name=f"{mixer.name}_d{stage.depth}", stages=(stage,), image_px=32, patch_px=4)
        specs.append(spec)
        size = chance.lognormvariate(0, 1)
        for name in ("top1", "top5"):
            share = min(0.99, 0.6 + 0.1 * size * chance.random())
            facts = {"interval_95": [share - 0.01, share + 0.01]}
            rows.append(_row(spec, name, "1", [share], facts, data="made up", split="val", recipe="none", seed=0))
        for name, unit in list(COSTS.items())[: columns - 2]:
            value = 1e6 * size * chance.lognormvariate(0, 0.4) * (1e-8 if unit == "s" else 1)
            value = 1e9 / value if unit == "1/s" else value
            if unit in ("s", "1/s"):
                samples = [value * chance.gauss(1, 0.02) for _ in range(ROUNDS * REPEATS)]
                rows.append(_row(spec, name, unit, samples, {"rounds": ROUNDS}, batch_size=1, **device))
            else:
                rows.append(_row(spec, name, unit, [value], {}))
    return rows, specs


def opened(path: Path, chromium: str) -> dict[str, float]:
    """What one fresh Chromium says of the page."""
    told: list[dict[str, float]] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ear) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text(encoding="utf-8"))
        copy = Path(folder) / "index.html"
        page, end_of_body, rest = text.rpartition("</body>")  # the libraries have one in a string, too
        copy.write_text(page + TELL.replace("PORT", str(server.server_port)) + end_of_body + rest)
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1600", "--no-first-run"]
        words += [f"--user-data-dir={folder}/profile", "--remote-debugging-port=0", copy.as_uri()]
        process = subprocess.Popen([chromium, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + TIMEOUT_S
            while not told and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
    if not told:
        raise TimeoutError(f"{chromium} did not open {path} within {TIMEOUT_S} s")
    return told[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--out", type=Path, help="keep the report here")
    options = parser.parse_args()
    environment("python benchmarks/bm_report.py")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Store("sqlite://") as store:
        rows, specs = made_up(options.models, options.columns)
        store.append(rows, specs)
        start = time.perf_counter()
        written = page.write(store, options.out or folder, pictures="none")[0]
        facts = {"rows": len(rows), "seed": SEED, "page_bytes": written.stat().st_size}
        facts["write_s"] = round(time.perf_counter() - start, 2)
        loads = [opened(written, options.chromium) for _ in range(options.loads)]
    for name in ("load_ms", "drawn_ms"):
        taken = [load[name] for load in loads]
        facts[name] = {"median": round(statistics.median(taken)), "min": round(min(taken)), "max": round(max(taken))}
    emit(facts | {"figures_in_window": loads[0]["figures_in_window"]})


def _row(
    spec: ModelSpec, indicator: str, unit: str, samples: list[float], timing: dict[str, Any], **conditions: Any
) -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=indicator,
        unit=unit,
        value=median(samples),
        samples=tuple(samples),
        conditions=Conditions(spec=spec.key, **conditions),
        origin=Origin(how="made up", timing=timing),
    )


if __name__ == "__main__":
    script(main)
