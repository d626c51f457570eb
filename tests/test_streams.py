"""Random streams: always the same for a seed and a name; unrelated otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from datasets.streams import numpy_stream, stream_seed, torch_stream


# constants, because stored records are reproducible only if these do not change
@pytest.mark.parametrize(("seed", "name", "expected"), [(0, ("split",), 3769940940748469125), (3, ("noise targets",), 792982175025369366)])
def test_stream_seeds_never_change(seed: int, name: tuple[str, ...], expected: int) -> None:
    assert stream_seed(seed, *name) == expected


def test_same_seed_and_name_give_the_same_draws() -> None:
    assert np.array_equal(numpy_stream(5, "split").random(20), numpy_stream(5, "split").random(20))
    draws = [torch.rand(20, generator=torch_stream("cpu", 5, "order")) for _ in range(2)]
    assert torch.equal(*draws)


def test_draws_from_one_stream_leave_the_others_alone() -> None:
    alone = numpy_stream(5, "noise").random(20)
    numpy_stream(5, "split").random(1000)
    np.random.default_rng(5).random(10)
    torch.rand(10)
    assert np.array_equal(numpy_stream(5, "noise").random(20), alone)


def test_streams_leave_torchs_global_generator_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(10, generator=torch_stream("cpu", 0, "order"))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_seed_and_name_has_a_stream_of_its_own() -> None:
    names = [("split",), ("noise",), ("order", 0), ("order", 1), ()]
    assert len({stream_seed(seed, *name) for seed in range(200) for name in names}) == 1000


def test_stream_seeds_fit_torch_and_numpy() -> None:
    assert all(0 <= stream_seed(seed, "any") < 2**63 for seed in (-1, 0, 1, 10**30))


def test_streams_of_neighbouring_seeds_are_uncorrelated() -> None:
    first = [numpy_stream(seed, "split").random() for seed in range(1000)]
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / np.sqrt(1000)


def test_torch_streams_of_neighbouring_seeds_are_uncorrelated() -> None:
    first = [torch.rand((), generator=torch_stream("cpu", seed, "order")).item() for seed in range(1000)]
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / np.sqrt(1000)


def test_a_torch_stream_lives_on_the_device_asked_for() -> None:
    assert torch_stream(torch.device("cpu"), 0, "order").device.type == "cpu"
