"""Run the fuzzer and print the verdicts; see `runner`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .runner import Failure, Run
from .targets import targets


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="number of files (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=600, help="stop after this time (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="number of processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all mutations (default: %(default)s)")
    parser.add_argument("--only", default="", help="formats whose name contains this text")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder of failing files")
    parser.add_argument(
        "--case", default="", metavar="FORMAT:NUMBER", help="run one case and show its traceback"
    )
    parser.add_argument("--list", action="store_true", help="list the formats")
    args = parser.parse_args(argv)
    names = [target.name for target in targets() if args.only in target.name]
    if args.list:
        print("\n".join(names))
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as work:
        run = Run(Path(work), args.seed, args.jobs)
        if args.case:
            return run.show(args.case)
        failures = run.all(names, args.count, args.seconds)
        report(run, failures)
        if failures:
            run.keep(failures, args.keep)
            print(f"The smallest failing files are in {args.keep}.")
    return 1 if failures else 0


def report(run: Run, failures: list[Failure]) -> None:
    for failure in failures:
        print(f"\n{failure.verdict}, {failure.count} x, {failure.case}\n{failure.detail}")
    print(f"\n{'format':<24}{'files':>8}{'refused':>9}{'read':>8}{'failed':>8}")
    for name, counts in sorted(run.counts.items()):
        row = [counts[key] for key in ("refused", "read")]
        failed = sum(counts.values()) - sum(row)
        print(f"{name:<24}{sum(counts.values()):>8}{row[0]:>9}{row[1]:>8}{failed:>8}")
    total = sum(run.verdicts.values())
    kinds = ("traceback", "hang", "memory", "code", "crash")
    print(
        f"\n{total} files in {run.elapsed_s:.0f} s: "
        + ", ".join(f"{kind} {run.verdicts[kind]}" for kind in kinds),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
