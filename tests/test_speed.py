"""The speed command: exact peers, the same memory, rows for every contender, errors for invalid input."""

from __future__ import annotations

import os
import subprocess

import pytest
import torch

from benchmark.models.convnet import ConvNet
from benchmark.speed.__main__ import TOPICS, main
from benchmark.speed.measure import Effort, compare
from benchmark.speed.peers import unrolled
from benchmark.speed.steps import MODELS, kept_for_backward
from benchmark.speed.throughput import throughput
from methods.base import Batch
from methods.baseline import Baseline
from methods.l2rw import L2RW

CPU = torch.device("cpu")


def test_the_unrolled_peer_gives_our_weights() -> None:
    torch.manual_seed(0)
    method = L2RW()
    method.model = ConvNet(10, torch.Size((1, 8, 8))).double().train()
    images, labels = torch.randn(30, 1, 8, 8, dtype=torch.float64), torch.randint(10, (30,))
    batch = Batch(images, labels, labels)
    _, weights = method.losses_and_weights(batch, batch)
    assert (weights > 0).any()
    torch.testing.assert_close(unrolled(method.model, batch, batch), weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["convnet", "lenet", "resnet32"])
def test_l2rw_keeps_no_more_for_backward_than_plain_training(name: str) -> None:
    plain, ours = (kept_for_backward(method, name, CPU) for method in (Baseline(), L2RW(25)))
    images = 4 * 100 * int(torch.Size(MODELS[name][1]).numel())
    assert plain > images  # activations at least
    assert ours <= 1.1 * plain


def test_contenders_take_turns_and_the_first_is_the_measure() -> None:
    order = []
    effort = Effort((), CPU, rounds=2, repeats=2)
    rows = list(compare("toy", {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, effort))
    assert order == list("aabb" * 3)  # a round to warm up, and two
    assert [row[:2] for row in rows] == [["toy", "a"], ["toy", "b"]]
    assert rows[0][2] == "1.000"


@pytest.mark.parametrize("topic", ["steps", "memory", "side_by_side", "peers"])
def test_a_topic_is_a_table_with_its_hardware(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([topic, "--models", "convnet", "--rounds", "1", "--repeats", "1", "--device", "cpu"]) == 0
    message = capsys.readouterr().out
    assert message.count("| convnet") >= 2
    assert f"torch {torch.__version__.partition('+')[0]}" in message


def test_throughput_runs_the_main_job_with_threads_in_one_process_and_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[list[str], str | None]] = []

    def run(command: list[str], env: dict[str, str], **_: object) -> None:
        runs.append((command[3:], env.get("OMP_NUM_THREADS")))

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(subprocess, "run", run)
    rows = list(throughput(Effort((), CPU, rounds=1, repeats=5), ["trainer.steps=3"]))
    assert len(rows) == 2
    (one, many), again = runs[:2], runs[2:]
    assert [threads for _, threads in (one, many)] == [threads for _, threads in again] == [str(len(os.sched_getaffinity(0))), None]
    assert set(one[0]) - set(many[0]) >= {"processes=1"}
    for overrides, _ in runs:
        assert {"method=l2rw,reed", "noise=bgflip", "device=cpu", "trainer.steps=3"} <= set(overrides)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["stepps"], "no topic 'stepps'; nearest: steps"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--device", "tpu"], "no device 'tpu'"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert error in capsys.readouterr().err


def test_every_topic_says_what_it_measures() -> None:
    assert all(str(rows.__doc__).splitlines()[0].endswith(".") for _, rows in TOPICS.values())
