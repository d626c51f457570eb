"""Detection of wrong labels: ROC curves and precision at k, from the evidence that runs keep (keep=[evidence])."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.intervals import interval, sentences
from benchmark.analysis.figures.matrices import cells
from benchmark.analysis.figures.request import Request
from benchmark.analysis.style import MUTED
from benchmark.metrics import METRICS
from benchmark.records.store import Record
from robust_benchmark.errors import UserError
from robust_benchmark.files import check_regular

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmark.analysis.style import Look

ENDING = ".evidence.parquet"  # as benchmark.training.artifacts writes them
RANKED_BY = {"weight": "low weight", "loss": "mean loss", "margin": "low mean margin", "wrong_events": "number of wrong events"}
LOW = ("weight", "margin")  # rankings in which a low value is suspicious
SHARES = np.linspace(0, 1, 201)  # shares of right labels or of all examples, at which curves are averaged over trials
PERCENT = METRICS["weights_precision"]  # a metric in percent: intervals end at 0 and 100 %


def found_by(suspicion: ArrayLike, wrong: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The numbers of checked examples, most suspicious first, and of wrong labels among them. Both start with 0.

    suspicion: (n,), larger for more suspicious examples; wrong: (n,), whether the label is wrong
    The results have one entry for each distinct suspicion, because equal values have no order. Linear interpolation between two entries
    gives the expected number of wrong labels.
    """
    values, is_wrong = np.asarray(suspicion, dtype=float), np.asarray(wrong, dtype=bool)
    order = np.argsort(-values, kind="stable")
    last = np.append(np.diff(values[order]) != 0, True)  # of each distinct value
    return np.append(0.0, np.flatnonzero(last) + 1), np.append(0.0, is_wrong[order].cumsum()[last])


def roc(suspicion: ArrayLike, wrong: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ROC curve: the share of right labels that are checked, and the share of wrong labels that are found."""
    checked, found = found_by(suspicion, wrong)
    return (checked - found) / (checked[-1] - found[-1]), found / found[-1]


def precision_at(k: ArrayLike, suspicion: ArrayLike, wrong: ArrayLike) -> NDArray[np.float64]:
    """The expected share of wrong labels among the k most suspicious examples. Equally suspicious examples are in random order."""
    counts = np.asarray(k, dtype=float)
    return np.interp(counts, *found_by(suspicion, wrong)) / counts


def read_evidence(record: Record, checkpoint_dir: Path, ranking: str | None = None) -> pd.DataFrame | None:
    """The evidence on the training examples of a trial; None if it was not kept. Raises UserError if it cannot be read.

    ranking: a column that it must have; files of earlier versions have no wrong_events
    """
    path = checkpoint_dir / record["key"] / f"seed-{record['seed']}{ENDING}"
    try:
        check_regular(path)
        table = pd.read_parquet(path)
    except FileNotFoundError:
        return None
    except ImportError as error:
        raise UserError("reading evidence needs pyarrow: pip install pyarrow") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    lacking = {"given_label", "true_label", "loss", "weight"} - set(table)
    if lacking or len(table) != record["data"]["sizes"]["train"]:
        raise UserError(f"{path} is not the evidence on the {record['data']['sizes']['train']} training examples of {record['path']}")
    if ranking and ranking not in table:
        raise UserError(f"{path} has no column {ranking}, because an earlier version kept it: train with keep=[evidence] again")
    return table


def suspicion_of(evidence: pd.DataFrame, ranking: str | None = None) -> tuple[NDArray[np.float64], NDArray[np.bool_], str]:
    """The suspicion of each example, whether its label is wrong, and the ranking, one of RANKED_BY.

    ranking: None for the weight, or the mean loss if there are no weights
    The result omits examples without a weight, which were never drawn, and examples with an unknown true label.
    """
    by = ranking or ("weight" if evidence["weight"].notna().any() else "loss")
    known = evidence[evidence["true_label"].notna() & evidence[by].notna()]
    suspicion = -known[by] if by in LOW else known[by]
    return suspicion.to_numpy(float), (known["given_label"] != known["true_label"]).to_numpy(bool), by


def curves(suspicion: NDArray[np.float64], wrong: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Percentages at SHARES, (2, shares): wrong labels found by the share of right labels checked, and precision by the share checked."""
    precision = precision_at(np.maximum(1, SHARES * len(wrong)), suspicion, wrong)
    return 100 * np.stack([np.interp(SHARES, *roc(suspicion, wrong)), precision])


class Found(NamedTuple):
    """The results of a method's trials in one setting. curves: (trials, 2, shares); wrong: share of wrong labels in percent; by: ranking"""

    curves: NDArray[np.float64]
    wrong: float
    by: str


def found_of(tables: Sequence[pd.DataFrame], ranking: str | None = None) -> Found | None:
    """The results of the trials with both right and wrong labels; None if there is none."""
    ranked = [suspicion_of(table, ranking) for table in tables]
    read = [(suspicion, wrong, by) for suspicion, wrong, by in ranked if wrong.any() and not wrong.all()]
    if not read:
        return None
    shares = [float(wrong.mean()) for _, wrong, _ in read]
    return Found(np.stack([curves(suspicion, wrong) for suspicion, wrong, _ in read]), 100 * float(np.mean(shares)), read[0][2])


def detection_figure(request: Request) -> Figure:
    """For each setting, a panel of ROC curves and one of precision at k, with a line for each method with evidence."""
    looks = request.shown_looks()
    settings: dict[str, dict[str, Found]] = {}
    for (setting, method), tables in _kept(request).items():
        found = found_of(tables, request.ranking)
        if found:
            settings.setdefault(setting, {})[method] = found
    if not settings:
        raise UserError("no trial of these has both right and wrong labels in its evidence, so there is nothing to detect")
    sheet = canvas.sheet(request, 2 * len(settings), 2.6, columns=1 if request.is_narrow else 2)
    for place, (setting, methods) in enumerate(settings.items()):
        left, right = sheet.panels[2 * place : 2 * place + 2]
        for rank, (method, each) in enumerate(methods.items()):
            _draw(left, each.curves[:, 0], looks[method], rank)
            _draw(right, each.curves[:, 1], looks[method], rank)
        left.set(xlabel="Right labels checked (%)", ylabel="Wrong labels found (%)")
        right.set(xlabel="k: most suspicious examples checked (%)", ylabel="Wrong among them (%)")
        right.axvline(next(iter(methods.values())).wrong, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1)))
        canvas.title(left, setting, request.width / sheet.columns - 0.4)
    names = dict.fromkeys(method for methods in settings.values() for method in methods)
    canvas.legend(sheet.figure, {method: looks[method] for method in names})
    found_methods = [(method, each) for methods in settings.values() for method, each in methods.items()]
    canvas.note(sheet.figure, request, _said(found_methods, request.ranking))
    return sheet.figure


def _said(found: Sequence[tuple[str, Found]], ranking: str | None) -> list[str]:
    by_loss = sorted({canvas.shown(method) for method, each in found if each.by == "loss"})
    if ranking or not by_loss:
        how = f"Examples are ranked by {RANKED_BY[ranking or 'weight']}."
    else:
        how = f"Examples are ranked by mean loss for {', '.join(by_loss)}, and by low weight for other methods."
    trials = [each.curves[:, 0, 0].tolist() for _, each in found]
    return [
        how,
        "The dotted line is the number of wrong labels.",
        *sentences(trials, [PERCENT], "bands"),
    ]


def _kept(request: Request) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """The evidence of each setting and method. Raises UserError if there is none."""
    trials = cells(request.finished()).items()
    tables = {key: [read_evidence(record, request.checkpoint_dir, request.ranking) for record in of] for key, of in trials}
    kept = {key: [table for table in of if table is not None] for key, of in tables.items()}
    found = {key: of for key, of in kept.items() if of}
    if not found:
        raise UserError(
            f"{request.checkpoint_dir} has no evidence of these trials; give the directory that has it with --checkpoint-dir, or train them"
            " with keep=[evidence] in another results_dir"
        )
    return found


def _draw(axis: Axes, values: NDArray[np.float64], look: Look, rank: int) -> None:
    """Draw a line with its band. values: (trials, shares); rank: of the method, which shifts its markers"""
    low, mean, high = np.array([interval(of_share.tolist(), PERCENT) for of_share in values.T]).T
    marks: Any = {"markersize": 4.2, "markeredgecolor": "white", "markeredgewidth": 0.5, "markevery": (8 * rank % 40, 40)}
    axis.plot(100 * SHARES, mean, linewidth=1.4, **canvas.style_of(look), **marks)
    axis.fill_between(100 * SHARES, low, high, color=look.colour, alpha=0.13, linewidth=0)
    axis.set_xlim(0, 100)
    axis.set_ylim(-2, 102)
