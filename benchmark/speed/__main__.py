"""`python -m benchmark.speed steps data`: the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from benchmark.speed import cost, mapped, page, peers, pipeline, records, startup, steps, throughput
from benchmark.speed.measure import HEADERS, Effort
from benchmark.trial import device_of, environment
from robust_benchmark.commands import guarded
from robust_benchmark.errors import at_least, choice
from robust_benchmark.imports import command

TOPICS: dict[str, tuple[list[str], Callable[[Effort], Iterator[list[str]]]]] = {
    "steps": (HEADERS, steps.steps),
    "options": (HEADERS, steps.options),
    "side_by_side": (HEADERS, steps.side_by_side),
    "memory": (steps.MEMORY_HEADERS, steps.memory),
    "peers": (HEADERS, peers.peers),
    "data": (HEADERS, pipeline.data),
    "mapped": (HEADERS, mapped.mapped),
    "evaluation": (HEADERS, pipeline.evaluation),
    "job": (HEADERS, pipeline.job),
    "throughput": (HEADERS, throughput.throughput),
    "startup": (startup.HEADERS, startup.startup),
    "records": (records.HEADERS, records.analysis),
    "page": (page.HEADERS, page.page),
    "cost": (cost.HEADERS, cost.cost),
}


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 for a user's mistake."""
    lines = "\n".join(f"  {name:13} {str(rows.__doc__).splitlines()[0]}" for name, (_, rows) in TOPICS.items())
    parser = argparse.ArgumentParser(
        prog=command("speed"),
        description=f"Measures costs as ratios within one run. Topics:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("topics", nargs="*", default=["steps"], metavar="topic", help="one or more of the topics above (default: steps)")
    parser.add_argument("--models", nargs="+", default=["lenet", "resnet32"], choices=tuple(steps.MODELS))
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds; ratios are computed within a round")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each contender per round")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--methods", nargs="+", default=[], help="for cost: choices of method= besides baseline (default: all)")
    parser.add_argument("--overrides", nargs="+", default=[], help="for cost: other options of benchmark.run, such as model=lenet")
    parser.add_argument("--output", type=Path, default=Effort.output, help="for cost: the output file")
    given = parser.parse_args(arguments)
    for name, least in (("rounds", 1), ("repeats", 1)):
        at_least(f"--{name}", getattr(given, name), least)
    for topic in given.topics:
        choice("topic", topic, tuple(TOPICS))
    _tell(given.topics, _effort(given))
    return 0


def _effort(given: argparse.Namespace) -> Effort:
    amount = (given.rounds, given.repeats)
    return Effort(tuple(given.models), device_of(given.device), *amount, tuple(given.methods), tuple(given.overrides), given.output)


def _tell(topics: Sequence[str], effort: Effort) -> None:
    where = environment(effort.device)
    for topic in topics:
        headers, rows = TOPICS[topic]
        print(f"{topic}: {str(rows.__doc__).splitlines()[0]}\n")
        print(f"{tabulate(list(rows(effort)), headers=headers, tablefmt='github', disable_numparse=True)}\n", flush=True)
    print(f"Medians over {effort.rounds} rounds on {where['device']}, {where['threads']} threads, torch {where['versions']['torch']}.")


if __name__ == "__main__":
    sys.exit(main())
