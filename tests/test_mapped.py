"""Images in a mapped file train bit for bit like images in memory, and do not use memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import ROOT, run, trial
from benchmark.config import cells
from benchmark.speed import mapped as speed
from benchmark.speed.measure import Effort
from benchmark.training.batches import Batches
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.graphs import Work
from benchmark.training.proof import Prover
from benchmark.training.read_ahead import AHEAD, ReadAhead
from benchmark.training.stepper import WARM_UP
from benchmark.training.trainer import Interrupted, Settings, Trainer
from datasets import image_folder
from datasets.augment import Preprocessing
from datasets.instance_noise import InstanceNoise
from datasets.mapped import Mapped, mapped
from datasets.noise import Corruption, UniformFlip
from datasets.source import Source
from datasets.task import Examples, Split, Task, make_task
from methods.base import Batch, Method, Phase, View
from methods.baseline import Baseline
from methods.finetune import FineTune
from methods.l2rw import L2RW
from methods.sampling import uniform
from methods.schedules import Schedule, Schedules
from robust_benchmark.errors import UserError
from tests.conftest import StopAt, small_convnet, untimed, wait

CPU = torch.device("cpu")
SETTINGS = Settings(Schedules(Schedule(22, 0.05, (15,)), finetune=Schedule(8, 0.01)), batch_size=20, evaluate_every=10, evidence=True)


class Joining(L2RW):
    """Trains on the clean set as well, behind the training set."""

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [replace(phase, before=lambda view: view.clean_set, views=("weak", "strong")) for phase in super().phases(schedules)]


class Looking(Baseline):
    """Looks at all training images at the beginning of each epoch."""

    def phases(self, schedules: Schedules) -> list[Phase]:
        def look(view: View, _: object) -> None:
            self.seen += sum(batch.images.sum() for batch in view.batches()) + view.images[:5].float().sum()

        self.register_buffer("seen", torch.zeros(()))
        return [replace(phase, every_epoch=look) for phase in super().phases(schedules)]


METHODS: dict[str, Callable[[], Method]] = {
    "baseline": Baseline,
    "l2rw +FT": lambda: FineTune(L2RW(clean_batch_size=8)),
    "joined by the clean set": lambda: Joining(clean_batch_size=8),
    "looking": Looking,
}


def paint(root: Path, side: int = 8) -> Path:
    """Two classes of random pictures, 40 to train with and 12 to test, as image_folder reads them."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 12)):
        for label, name in enumerate(("cat", "dog")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 156, (side, side, 3), dtype=np.uint8) + 100 * label * (np.arange(side) % 2)[:, None, None]
                Image.fromarray(pixels.astype(np.uint8)).save(root / part / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("mapped") / "pictures")


def load(pictures: Path, resident: bool) -> Source:
    return image_folder.load(str(pictures), None, str(pictures.parent / "cache"), resident=resident)


def task(pictures: Path, resident: bool, corruption: Corruption | None = None) -> Task:
    split = Split(clean_per_class=5, hyper_validation=15)
    made = make_task(load(pictures, resident), corruption or UniformFlip(0.4), split, Preprocessing(pad=1, flip=True), seed=3)
    kinds = {type(part.images) for part in (made.train, made.clean, made.hyper_validation, made.test)}
    assert kinds == {torch.Tensor if resident else Mapped}
    return made


def trainer(name: str, pictures: Path, resident: bool, checkpoints: Checkpoints | None = None, watch: StopAt | None = None) -> Trainer:
    return Trainer(METHODS[name](), small_convnet, task(pictures, resident), SETTINGS, 1, CPU, checkpoints, watch)


def assert_same(one: Trainer, other: Trainer) -> None:
    """Assert that the results of two trials are equal bit for bit, and that none of their threads remains."""
    assert one.progress.history == other.progress.history
    assert one.progress.weight_histograms == other.progress.weight_histograms
    assert one.progress.per_class == other.progress.per_class
    for found in (lambda each: each.method.state_dict(), lambda each: each.evidence.state(), lambda each: each.example_weights):
        torch.testing.assert_close(found(one), found(other), rtol=0, atol=0, equal_nan=True)
    assert readers() == []


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read ahead")]


# --- the same numbers


@pytest.mark.parametrize("name", METHODS)
def test_mapped_images_train_bit_for_bit_as_those_in_memory(name: str, pictures: Path) -> None:
    found = [trainer(name, pictures, resident) for resident in (True, False)]
    for each in found:
        each.run()
    assert len(found[0].progress.history) >= 3
    assert_same(*found)


@pytest.mark.parametrize("name", ["l2rw +FT", "joined by the clean set"])
@pytest.mark.parametrize("stop", [3, 8, 21])
def test_a_trial_on_mapped_images_resumes_bit_for_bit(name: str, stop: int, pictures: Path, tmp_path: Path) -> None:
    whole = trainer(name, pictures, resident=True)
    whole.run()
    checkpoints = Checkpoints(tmp_path / "trial.pt", "toy")
    with pytest.raises(Interrupted):
        trainer(name, pictures, False, checkpoints, StopAt(stop)).run()
    assert readers() == []
    resumed = trainer(name, pictures, False, checkpoints)
    resumed.run()
    assert_same(whole, resumed)


@pytest.mark.parametrize("corruption", [UniformFlip(0.4), InstanceNoise(0.4)])
def test_a_task_on_mapped_images_draws_what_one_in_memory_draws_and_has_its_digests(corruption: Corruption, pictures: Path) -> None:
    one, other = task(pictures, True, corruption), task(pictures, False, corruption)
    assert one.digests == other.digests
    for part in ("train", "clean", "hyper_validation", "test"):
        for ours, theirs in zip(getattr(one, part).fields(), getattr(other, part).fields(), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("faithful", [True, False])
def test_captures_read_a_minibatch_where_it_stays_and_one_that_keeps_the_first_is_refused(
    faithful: bool, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eager, captured = trainer("baseline", pictures, True), trainer("baseline", pictures, False)
    running = captured.running(captured.phases[0])
    replayed, places = [], set()

    def capture(work: Work, _: object) -> Work:
        first = running.batches.stored.clone()

        def replay() -> None:
            replayed.append(running.step)
            places.add(running.batches.stored.data_ptr())
            if not faithful:
                running.batches.stored.copy_(first)
            work()

        return replay

    captured.trial.prover = Prover(capture)
    running = captured.running(captured.phases[0])
    for _ in range(12):  # with three epochs
        running.take_step(captured.view)
    running.batches.close()
    expected = eager.running(eager.phases[0])
    for _ in range(12):
        expected.take_step(eager.view)
    torch.testing.assert_close(captured.method.state_dict(), eager.method.state_dict(), rtol=0, atol=0)
    assert len(places) == 1
    if faithful:
        assert replayed[-1] == 11
        assert len(replayed) == 2 + 12 - WARM_UP
    else:
        assert "the captured CUDA graph gives another" in capsys.readouterr().err


# --- indexing


def test_indexing_is_that_of_the_tensor_in_memory(pictures: Path) -> None:
    stored = load(pictures, False).train_images
    assert isinstance(stored, Mapped)
    tensor = load(pictures, True).train_images
    order = np.random.default_rng(0).permutation(len(tensor))
    assert (stored.shape, stored.dtype, stored.ndim, len(stored)) == (tensor.shape, tensor.dtype, tensor.ndim, len(tensor))
    for index in (slice(None), slice(3, 9), order[:7], torch.from_numpy(order[:5]), np.array([-1, 0]), np.empty(0, dtype=np.int64)):
        assert torch.equal(stored[index], tensor[index])
        assert torch.equal(stored.take(index)[:], tensor[index])
    assert torch.equal(stored.take(order).take(order[:9])[:], tensor[order][order[:9]])
    with pytest.raises(IndexError):
        stored[np.array([len(tensor)])]


def test_images_in_memory_join_those_in_a_file(pictures: Path) -> None:
    source = load(pictures, False)
    stored, more = source.train_images, load(pictures, True).test_images
    assert isinstance(stored, Mapped)
    joined = stored.take(slice(4)).join(more[:3]).join(more[3:5])
    assert torch.equal(joined[:], torch.cat([stored[:4], more[:5]]))
    assert torch.equal(joined[torch.tensor([8, 0, 4])], torch.cat([more[4:5], stored[:1], more[:1]]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_arrays_in_npy_and_stored_npz_files_are_mapped(dtype: type, tmp_path: Path) -> None:
    shape = (9, 3, 4, 5) if dtype == np.uint8 else (9, 6)
    arrays = {name: np.random.default_rng(seed).integers(0, 200, shape).astype(dtype) for seed, name in enumerate(("x", "test_x"))}
    np.save(tmp_path / "x.npy", arrays["x"])
    np.savez(tmp_path / "all.npz", **arrays)
    assert np.array_equal(mapped(tmp_path / "x.npy")[:].numpy(), arrays["x"])
    for name, array in arrays.items():
        found = mapped(tmp_path / "all.npz", name)[np.array([7, 2])]
        assert found.numpy().dtype == dtype
        assert np.array_equal(found.numpy(), array[[7, 2]])


def test_files_that_cannot_be_mapped_are_refused_in_a_sentence(tmp_path: Path) -> None:
    array = np.zeros((5, 3, 4, 4), dtype=np.uint8)
    np.savez_compressed(tmp_path / "small.npz", x=array)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(array))
    np.save(tmp_path / "short.npy", array)
    np.save(tmp_path / "number.npy", np.array(3))
    os.truncate(tmp_path / "short.npy", 200)
    (tmp_path / "text.npy").write_text("no array")
    for name, member, words in (
        ("small.npz", "x", "'x' is compressed"),
        ("small.npz", "y", "y.npy"),
        ("fortran.npy", None, "C order"),
        ("number.npy", None, "an array of numbers"),
        ("short.npy", None, "is shorter than the array it holds"),
        ("text.npy", None, "holds no array that can be mapped"),
        ("none.npy", None, "No such file"),
    ):
        with pytest.raises(UserError, match=f"{re.escape(name)} .*{re.escape(words)}"):
            mapped(tmp_path / name, member)


# --- reading ahead


def test_rows_are_read_ahead_and_from_any_row_on(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = load(pictures, False).train_images
    assert isinstance(stored, Mapped)
    rows = torch.arange(80).view(20, 4)
    asked, read = [], Mapped.read
    monkeypatch.setattr(Mapped, "read", lambda self, index: (asked.append(int(index[-1]) // 4), read(self, index))[1])
    ahead = ReadAhead(stored, rows)
    ahead.read(0)
    wait(lambda: len(asked) == AHEAD + 1)
    assert sorted(asked) == list(range(AHEAD + 1))  # no further ones
    for row in (1, 2, 9, 10, 2, 18, 19, 0):
        assert torch.equal(ahead.read(row), read(stored, rows[row]))
    ahead.close()
    assert readers() == []


class Failing(Baseline):
    def loss(self, batch: Batch) -> torch.Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 6:
            raise RuntimeError("no loss today")
        return super().loss(batch)


def test_the_threads_end_where_a_step_fails(pictures: Path) -> None:
    with pytest.raises(RuntimeError, match="no loss today"):
        Trainer(Failing(), small_convnet, task(pictures, False), SETTINGS, 1, CPU).run()
    assert readers() == []


def test_an_error_of_reading_is_raised_by_the_step_that_needs_it_and_ends_the_threads(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = trainer("l2rw +FT", pictures, False)
    turns = failing.turns()
    next(turns)
    assert len(readers()) >= 2  # of the training set and of the clean set
    monkeypatch.setattr(Mapped, "read", lambda *_: (_ for _ in ()).throw(OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone"):
        for _ in turns:
            pass
    assert readers() == []


def test_the_threads_end_where_a_trial_is_left(pictures: Path) -> None:
    turns = trainer("l2rw +FT", pictures, False).turns()
    next(turns)
    turns.close()
    assert readers() == []


def test_a_stream_continues_after_it_was_closed(pictures: Path) -> None:
    found = []
    for resident in (True, False):
        stream = Batches("train", task(pictures, resident).train, uniform, 20, Preprocessing(), 0, "toy")
        images = []
        for _ in range(5):
            images.append(stream.draw().images)
            stream.close()
        found.append(torch.stack(images))
    assert torch.equal(*found)


# --- the cache


@pytest.mark.parametrize("damage", ["cut off", "cut in its header", "empty", "another array"])
def test_a_damaged_or_replaced_cache_is_reported_in_a_line_and_made_again(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = paint(tmp_path / "pictures")
    before = load(root, True)
    (cache,) = (tmp_path / "cache").glob("*.npy")
    content = cache.read_bytes()
    np.save(tmp_path / "other.npy", np.zeros_like(np.load(cache)))
    other = (tmp_path / "other.npy").read_bytes()
    cache.write_bytes({"cut off": content[:-100], "cut in its header": content[:50], "empty": b"", "another array": other}[damage])
    after = load(root, False)
    printed = capsys.readouterr().err
    assert printed == f"cache {cache} is damaged or another file: the pictures are decoded again\n"
    assert torch.equal(after.train_images[:], before.train_images[:])
    assert cache.read_bytes() == content
    load(root, False)
    assert capsys.readouterr().err == ""


def test_the_cache_is_the_same_for_any_number_of_pictures_decoded_at_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "DECODED_AT_ONCE", 7)
    found = image_folder.load(str(pictures), None, str(tmp_path))
    assert torch.equal(found.train_images[:], load(pictures, True).train_images[:])


def test_the_digest_is_kept_beside_the_file_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), dtype=np.uint8)
    labels = torch.arange(20) % 2

    def source(resident: bool) -> Source:
        stored = mapped(tmp_path / "x.npy")
        found = Source(stored.take(slice(15)), labels[:15], stored.take(slice(15, None)), labels[15:], ("a", "b"))
        return found.in_memory if resident else found

    np.save(tmp_path / "x.npy", images)
    first = source(True).digest
    assert source(False).digest == first
    with monkeypatch.context() as patched:
        patched.setattr(Mapped, "chunks", lambda _: pytest.fail("read again"))
        assert source(False).digest == first
    images[3, 0, 0, 0] ^= 1
    np.save(tmp_path / "x.npy", images)
    os.utime(tmp_path / "x.npy", ns=(1, 1))  # a coarse clock might not have moved on
    assert source(False).digest == source(True).digest != first


# --- the option


def test_the_option_chooses_where_images_lie_and_is_no_part_of_the_numbers(pictures: Path, tmp_path: Path) -> None:
    found = {}
    for choice in ("true", "false"):
        places = [f"results_dir={tmp_path}/{choice}/results", f"checkpoint_dir={tmp_path}/{choice}", f"data_dir={tmp_path}/data"]
        small = ["model=convnet", "trainer=digits", "trainer.steps=12", "trials=1", "split.clean_per_class=5", "processes=1", "device=cpu"]
        overrides = ["dataset=image_folder", f"dataset.path={pictures}", "method=l2rw", f"resident={choice}", *small, *places]
        (cell,) = cells(overrides)
        images = trial.prepare(cell, 0).task.train.images
        assert isinstance(images, Mapped) == (choice == "false")
        assert run.main(overrides) == 0
        found[choice] = untimed(tmp_path / choice)
    assert found["true"] == found["false"]
    assert not any("resident" in override for record in found["false"].values() for override in record["overrides"])


def test_by_default_images_come_to_memory_where_they_are_small() -> None:
    (cell,) = cells(["device=cpu"])
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert trial.resident(cell.config, memory // 5)
    assert not trial.resident(cell.config, memory // 3)
    assert trial.resident(replace(cell.config, resident=True), 2 * memory)
    assert not trial.resident(replace(cell.config, resident=False), 1)


def test_published_sets_are_in_memory_for_any_option() -> None:
    (cell,) = cells(["dataset=digits", "resident=false", "device=cpu"])
    assert isinstance(trial.prepare(cell, 0).task.train.images, torch.Tensor)


# --- memory

LIMITED = """
import re, resource, sys
from pathlib import Path
import numpy as np, torch
from benchmark.training.batches import Batches, in_order
from datasets.augment import Preprocessing
from datasets.mapped import mapped
from datasets.noise import UniformFlip
from datasets.source import Source
from datasets.task import Split, make_task
from methods.sampling import uniform

torch.set_num_threads(1)
stored = mapped(Path(sys.argv[1]))
data = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024  # of torch, before any image
limit = data + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    stored[:]
except RuntimeError as error:
    assert "memory" in str(error), error
else:
    raise SystemExit("no limit is enforced")
labels = torch.arange(len(stored)) % 10
cut = len(stored) - 500
source = Source(stored.take(slice(cut)), labels[:cut], stored.take(slice(cut, None)), labels[cut:], tuple("0123456789"))
task = make_task(source, UniformFlip(0.4), Split(hyper_validation=1000), Preprocessing(pad=2, flip=True), 0)
stream = Batches("train", task.train, uniform, 100, task.preprocessing, 0, "toy")
for _ in range(30):
    stream.draw()
stream.close()
for batch in in_order(task.test, task.preprocessing):
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems enforce no such limit")
def test_a_file_four_times_an_enforced_limit_of_the_process_memory_is_drawn_from(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    size = 2**29
    np.lib.format.open_memmap(path, "w+", np.uint8, (size // 3072, 3, 32, 32))  # sparse: zeros that take no room on the disk
    command = [sys.executable, "-c", LIMITED, str(path), str(size // 4)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_cut_off_while_it_is_in_use_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((50, 3, 8, 8), dtype=np.uint8))
    stored = mapped(tmp_path / "x.npy")
    os.truncate(tmp_path / "x.npy", 5000)
    assert stored[:20].sum() == 20 * 3 * 8 * 8
    with pytest.raises(UserError, match="was cut off while it was in use"):
        stored[np.array([2, 40])]


# --- speed


def test_the_topic_compares_the_same_images_in_memory_and_in_a_dropped_file() -> None:
    rows = list(speed.rows(Effort((), CPU, rounds=1, repeats=1), 8, 3 * 8 * 8 * 1500))
    assert [row[1] for row in rows] == ["in memory", "mapped", "the disk's reads alone"] * len(speed.VIEWS)
    assert readers() == []


def test_a_dropped_file_is_read_again_and_is_the_same(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    stored = mapped(tmp_path / "x.npy")
    for _ in range(2):
        assert np.array_equal(stored[:].numpy(), images)
        speed.drop(stored.file)


def test_examples_join_alike_in_memory_and_in_a_file(pictures: Path) -> None:
    one, other = (task(pictures, resident) for resident in (True, False))
    joined = [each.train.join(each.clean) for each in (one, other)]
    assert isinstance(joined[1].images, Mapped)
    for ours, theirs in zip(joined[0].fields(), joined[1].fields(), strict=True):
        assert torch.equal(ours, theirs)
    assert isinstance(joined[0], Examples)
