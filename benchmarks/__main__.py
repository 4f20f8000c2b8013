"""`make bench`: every figure beside what it is measured against, in one run. Trust ratios, not seconds."""

import asyncio
import os
import platform
import tempfile
from pathlib import Path

from benchmarks.deliveries import compare_deliveries
from benchmarks.end_to_end import compare_with_stock
from benchmarks.idle_start import measure_idle_start
from benchmarks.ingress import compare_ingress
from benchmarks.queue_throughput import compare_queue
from cli.stack import running_stack

MODEL = Path(__file__).parent.parent / "models" / "darkroom-shapes"


def main() -> None:
    os.environ.setdefault("DARKROOM_LOG_FORMAT", "json")  # as in production
    print(f"{platform.machine()}, Python {platform.python_version()}; medians of repeats, side by side\n")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, running_stack(Path(folder), port=0) as stack:
        print(asyncio.run(measure_idle_start(stack)), flush=True)
        print(compare_with_stock(stack, MODEL), flush=True)
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        print(compare_ingress(Path(folder)), flush=True)
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        print(compare_deliveries(Path(folder)), flush=True)
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        print(compare_queue(Path(folder)), flush=True)


if __name__ == "__main__":
    main()
