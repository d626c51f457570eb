"""`python -m docs.findings`: writes the tables of the pages on findings from records, measured costs and the paper's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from tabulate import tabulate

from benchmark import ROOT
from benchmark.signatures import shown
from docs.method_table import cost, filled
from docs.trials import Options, Trials, composed
from robust_benchmark.words import number_of

PAGES = [ROOT / "docs" / name for name in ("wrong-labels.md", "rare-classes.md", "small.md")]

NOISES: dict[str, Options] = {  # of experiment=noise_atlas
    "20 % uniform flip": {"noise.name": "uniflip", "noise.rate": 0.2},
    "40 % uniform flip": {"noise.name": "uniflip", "noise.rate": 0.4},
    "60 % uniform flip": {"noise.name": "uniflip", "noise.rate": 0.6},
    "pair flip": {"noise.name": "pairflip", "noise.rate": 0.45},
    "asymmetric noise": {"noise.name": "asymmetric"},
    "instance-dependent noise": {"noise.name": "instance"},
    "background flip": {"noise.name": "bgflip", "noise.rate": 0.4},
}
SURVIVORS = (  # in this order
    "dividemix pes sop_plus mdyr promix disc elr baseline coteaching forward_oracle l2b l2rw fsr mlc glc relabel gdw clean_only"
)
MNIST_NOISES: dict[str, Options] = {
    "50 % uniform flip": {"noise.name": "uniflip"},
    "45 % pair flip": {"noise.name": "pairflip", "noise.rate": 0.45},
    "40 % instance-dependent noise": {"noise.name": "instance"},
}
MNIST_REASONS = "baseline jocor jocor:lam=0.1 meta_weight_net meta_weight_net_released"
PAIR_FLIP_RATES = (0.2, 0.3, 0.4, 0.45)
PAIR_FLIPS: dict[str, Options] = {f"{100 * rate:.0f} %": {"noise.rate": rate} for rate in PAIR_FLIP_RATES}
HUMAN_REASONS = {
    "human labels": "cifar10n_small",
    "the same rates between classes, at random pictures": "cifar10n_reasons",
    "40 % background flip": "table2_small",
}
LOW_RATE = "20 % background flip"
TAILS: dict[str, Options] = {  # of experiment=tail_atlas, at 10:1
    "right labels": {"imbalance.name": "exponential", "imbalance.rho": 10, "noise.name": "none"},
    "uniform flip": {"imbalance.name": "exponential", "imbalance.rho": 10, "noise.name": "uniflip"},
    "background flip": {"imbalance.name": "exponential", "imbalance.rho": 10, "noise.name": "bgflip"},
}
TAIL_REASONS: dict[str, Options] = {
    "10:1": TAILS["right labels"],
    "50:1": {"imbalance.rho": 50},
    "majority": {"imbalance.name": "majority"},
    "10:1, uniform flip": TAILS["uniform flip"],
    "10:1, background flip": TAILS["background flip"],
}
BOTH = (
    "baseline proportion resample class_balanced logit_adjustment influence_balanced elr dividemix mentornet_dd meta_weight_net gdw l2rw"
    " fsr l2b clean_only"
)
MNIST_TAILS: dict[str, Options] = {
    "50:1": {"imbalance.rho": 50},
    "10:1, uniform flip": {"imbalance.rho": 10, "noise.name": "uniflip"},
    "10:1, background flip": {"imbalance.rho": 10, "noise.name": "bgflip"},
}
MNIST_TAIL_REASONS: dict[str, Options] = {
    "at 0.01": {"imbalance.rho": 50, "trainer.lr": 0.01},
    "at 0.001": {"imbalance.rho": 50, "trainer.lr": 0.001},
}
RATES: dict[str, Options] = {
    "0": {"split.clean_noise_rate": 0.0},
    "10 %": {"split.clean_noise_rate": 0.1},
    "20 %": {"split.clean_noise_rate": 0.2},
    "40 %": {"split.clean_noise_rate": 0.4},
}
CLEAN = "l2b l2rw fsr gdw mentornet_dd mslc glc meta_weight_net clean_weighted baseline_ft mlc relabel clean_only"


def main() -> None:
    """Update the pages."""
    for page in PAGES:
        page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")


def updated(page: str) -> str:
    """The page with updated tables."""
    return filled(page, {name: make() for name, make in TABLES.items() if f"<!-- begin: {name} -->" in page})


def _survivors() -> str:
    trials, rows = Trials("noise_atlas", NOISES, SURVIVORS), []
    for method in trials.methods:
        last, chosen = trials.means(method), trials.means(method, select="noisy_validation")
        worst = min(last, key=last.__getitem__)
        lowest = _number(last[worst]) + (f", {worst}" if _number(last[worst]) != _number(max(last.values())) else "")
        rows.append([_code(method), trials.sees(method), _mean(last), lowest, _mean(chosen), cost(method)])
    return _table(["method", "sees", "mean of seven noises", "its worst noise", "mean, chosen by noisy validation", "cost of a step"], rows)


def _mnist_noises() -> str:
    trials, rows = Trials("noise_atlas_mnist", MNIST_NOISES), []
    for method in trials.methods:
        last, chosen = trials.means(method), trials.means(method, select="noisy_validation")
        rows.append([_code(method), trials.sees(method), *map(_number, last.values()), _mean(last), _mean(chosen)])
    rows.sort(key=lambda row: -float(row[-2]))
    return _table(["method", "sees", *MNIST_NOISES, "mean", "mean, chosen by noisy validation"], rows)


def _human() -> str:
    trials, rows = Trials("cifar10n_small", {"human": {}}), []
    for method in trials.methods:
        (last,), (chosen,) = trials.means(method).values(), trials.means(method, select="noisy_validation").values()
        (memorised,), (auroc,) = (trials.means(method, of).values() for of in ("wrong_labels_memorised", "weights_auroc"))
        rows.append([_code(method), trials.sees(method), *map(_number, (last, chosen, memorised, auroc))])
    rows.sort(key=lambda row: -float(row[2]))
    headers = ["last step", "chosen by noisy validation", "wrong labels memorised", "AUROC of the weights"]
    return _table(["method", "sees", *headers], rows)


def _human_reasons() -> str:
    rows = []
    for labels, experiment in HUMAN_REASONS.items():
        trials = Trials(experiment, {"": {}}, "baseline l2rw")
        plain, l2rw = (trials.means(method)[""] for method in ("baseline", "l2rw"))
        memorised, auroc = trials.means("baseline", "wrong_labels_memorised")[""], trials.means("l2rw", "weights_auroc")[""]
        rows.append([labels, str(trials.fewest), *map(_number, (plain, memorised, l2rw, auroc))])
    return _table(["wrong labels", "trials", "plain training", "memorised", "`l2rw`", "AUROC of its weights"], rows)


def _both() -> str:
    trials, rows = Trials("tail_atlas", TAILS, BOTH), []
    for method in trials.methods:
        mean, worst = trials.means(method), trials.means(method, "worst_class_accuracy")
        numbers = [word for name in ("uniform flip", "background flip") for word in (_number(mean[name]), f"{worst[name]:.0f}")]
        rows.append([_code(method), trials.sees(method), _number(mean["right labels"]), *numbers, cost(method)])
    flips = ["uniform flip", "its worst class", "background flip", "its worst class"]
    return _table(["method", "sees", "right labels", *flips, "cost of a step"], rows)


def _mnist_tails() -> str:
    trials, rows = Trials("tail_atlas_mnist", MNIST_TAILS), []
    for method in trials.methods:
        mean, worst = trials.means(method), trials.means(method, "worst_class_accuracy")
        rows.append([_code(method), trials.sees(method), *(word for name in mean for word in (_number(mean[name]), f"{worst[name]:.0f}"))])
    return _table(["method", "sees", *(word for name in MNIST_TAILS for word in (name, "its worst class"))], rows)


def _clean_noise() -> str:
    trials, rows = Trials("clean_noise", RATES, CLEAN), []
    for method in trials.methods:
        mean = trials.means(method)
        rows.append([_code(method), *map(_number, mean.values()), _number(mean["0"] - mean["40 %"])])
    return _table(["method", *RATES, "lost at 40 %"], rows)


def _noise_reasons() -> str:
    atlas, changed, rows = Trials("noise_atlas", NOISES), Trials("noise_reasons", NOISES), []
    plain = atlas.means("baseline")
    for choice in changed.methods:
        method = choice.partition(":")[0].removesuffix("_asymmetric")
        for noise, mean in changed.means(choice).items():
            before, after = atlas.options(method, noise), changed.options(choice, noise)
            if before and method != "baseline":
                numbers = map(_number, (plain[noise], atlas.means(method)[noise]))
                rows.append([_code(method), noise, *numbers, _factor(before, after), _number(mean)])
    return _table(["method", "noise", "plain training", "this method", "factor", "with it"], rows)


def _factor(before: Options, after: Options) -> str:
    """The options that differ, and their values before."""
    differ = [name for name in after if after[name] != before[name]]
    values = " and ".join(shown(before[name]) for name in differ)
    return f"{_code(' '.join(f'{name}={shown(after[name])}' for name in differ))} instead of {values}"


def _low_rate() -> str:
    trials = Trials("noise_reasons", {LOW_RATE: {"noise.name": "bgflip", "noise.rate": 0.2}})
    means = {method: mean for method in trials.methods for mean in trials.means(method).values()}
    ordered = sorted(means, key=lambda method: (method != "baseline", -means[method]))
    return _table(["method", LOW_RATE], [[_code(method), _number(means[method])] for method in ordered])


def _mnist_noise_reasons() -> str:
    trials = Trials("noise_atlas_mnist", MNIST_NOISES, MNIST_REASONS)
    return _table(["method", *MNIST_NOISES], [_means(trials, method) for method in trials.methods])


def _pair_flips() -> str:
    rates = f"noise.rate={','.join(map(str, PAIR_FLIP_RATES))}"
    methods = {"digits": ("noise_atlas", "baseline dividemix meta_weight_net"), "MNIST": ("noise_atlas_mnist", "baseline meta_weight_net")}
    rows = []
    for data, (experiment, names) in methods.items():
        flips = Trials(experiment, PAIR_FLIPS, names, "noise=pairflip", rates)
        for method in flips.methods:
            mean, auroc = flips.means(method), flips.means(method, "weights_auroc")
            both = (f"{_number(mean[rate])} ({_number(auroc[rate])})".removesuffix(" ()") for rate in PAIR_FLIPS)
            rows.append([data, _code(method), *both])
    return _table(["data", "method", *PAIR_FLIPS], rows)


def _tail_reasons() -> str:
    changed = Trials("tail_reasons", TAIL_REASONS)
    atlas = Trials("tail_atlas", TAIL_REASONS, " ".join(changed.methods))
    rows = []
    for method in changed.methods:
        before, after = atlas.means(method), changed.means(method)
        rows.append([_code(method), *(f"{_number(before[setting])}, {_number(after[setting])}" for setting in TAIL_REASONS)])
    return _table(["method", *TAIL_REASONS], rows)


def _mnist_tail_reasons() -> str:
    trials = Trials("tail_atlas_mnist", MNIST_TAIL_REASONS, "baseline l2rw l2b fsr fsr:step=0.0", "trainer.lr=0.01,0.001")
    return _table(["method", *MNIST_TAIL_REASONS], [_means(trials, method) for method in trials.methods])


def _means(trials: Trials, method: str) -> list[str]:
    return [_code(method), *map(_number, trials.means(method).values())]


def _table_1() -> str:
    return _beside_the_paper("table1", "CIFAR-10, WRN-28-10, 5 trials", {"MNIST, LeNet": "table1_mnist"})


def _table_2() -> str:
    ours = {"CIFAR-10 as JPEG, fastnet": "table2_small", "MNIST, LeNet": "table2_mnist", "digits, convnet": "table2 dataset=digits"}
    return _beside_the_paper("table2", "CIFAR-10, ResNet-32, 5 trials", ours)


def _beside_the_paper(experiment: str, header: str, ours: Mapping[str, str]) -> str:
    """The rows of a table of the paper: its means on CIFAR-10, and ours by the headers of their columns."""
    papers = composed([f"experiment={experiment}"])[0].config.experiment.rows
    columns = {f"the paper: {header}": {row: found["cifar10"][0] for row, found in papers.items()}}
    for name, of in ours.items():
        name_of, *overrides = of.split()
        trials = Trials(name_of, {"": {}}, "", *overrides)
        columns[f"{name}, {number_of(trials.fewest, 'trial')}"] = {row: trials.means(row)[""] for row in papers}
    rows = [
        [found["name"], *(f"{means[row]:.1f} ({means[row] - means['l2rw']:+.1f})" for means in columns.values())]
        for row, found in papers.items()
    ]
    return _table(["method", *columns], rows)


def _code(name: str) -> str:
    return f"`{name}`"


def _number(number: float) -> str:
    """The number, or nothing if it is missing."""
    return "" if np.isnan(number) else f"{number:.1f}"


def _mean(numbers: Mapping[str, float]) -> str:
    return _number(float(np.mean([*numbers.values()])))


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


TABLES: dict[str, Callable[[], str]] = {
    "survivors": _survivors,
    "mnist_noises": _mnist_noises,
    "mnist_noise_reasons": _mnist_noise_reasons,
    "human": _human,
    "human_reasons": _human_reasons,
    "noise_reasons": _noise_reasons,
    "low_rate": _low_rate,
    "pair_flips": _pair_flips,
    "both": _both,
    "mnist_tails": _mnist_tails,
    "mnist_tail_reasons": _mnist_tail_reasons,
    "tail_reasons": _tail_reasons,
    "clean_noise": _clean_noise,
    "table_1": _table_1,
    "table_2": _table_2,
}

if __name__ == "__main__":
    main()
