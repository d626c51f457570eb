"""The comparison with true labels, for data whose true labels are known: how well each kind of evidence finds the wrong ones."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from tabulate import tabulate

from benchmark.audit import confident
from benchmark.audit.calibration import recall
from benchmark.audit.data import Audited
from benchmark.audit.judging import Judged
from benchmark.training.detection import auprc, auroc, precision
from robust_benchmark.errors import UserError

HEADERS = ["score", "AUROC", "average precision", "precision at the number of errors"]


def against_truth(data: Audited, judged: Judged) -> str:
    """Return tables: AUROC, average precision and precision at k of every score, and estimated beside true recall. Raises UserError."""
    if data.true_labels is None:
        raise UserError("the true labels of this data are unknown")
    wrong = data.labels != data.true_labels
    if not wrong.any() or wrong.all():
        return f"{int(wrong.sum())} of {len(wrong)} labels are wrong, so no score can be compared."
    scores = judged.scores
    rows = [
        _row("combined", scores.suspicion, wrong),
        _row("confident learning on the mean probabilities", scores.confident, wrong),
        _row("self-confidence of the mean probabilities", -scores.probabilities[np.arange(len(wrong)), data.labels], wrong),
        _row("disagreement", scores.disagreement, wrong),
        *(_row(name, suspicion, wrong) for name, suspicion in _of_cleanlab(scores.probabilities, data.labels).items()),
    ]
    for method, file in judged.evidence.items():
        with np.load(file) as arrays:
            rows += [_row(f"{method} {name}", arrays[name], wrong) for name in arrays.files if name != "prediction"]
    removed = confident.pruned(scores.probabilities, data.labels)
    tables = [tabulate(rows, HEADERS, tablefmt="github", floatfmt=".4f"), _pruned(removed, wrong), _recalls(judged, wrong)]
    return "\n\n".join([f"{int(wrong.sum()):,} of {len(wrong):,} labels are wrong in truth.", *tables])


def _of_cleanlab(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of cleanlab for the mean probabilities, where it is installed; larger is more suspicious."""
    if find_spec("cleanlab") is None:
        return {}
    from cleanlab.rank import get_label_quality_scores

    kinds = [("self_confidence", False), ("normalized_margin", False), ("normalized_margin", True)]
    return {
        f"cleanlab: {kind}{' (adjusted)' if adjusted else ''}": -get_label_quality_scores(
            labels, probabilities, method=kind, adjust_pred_probs=adjusted
        )
        for kind, adjusted in kinds
    }


def _row(name: str, suspicion: np.ndarray, wrong: np.ndarray) -> list[str | float]:
    return [name, auroc(-suspicion, wrong), auprc(-suspicion, wrong), precision(-suspicion, wrong)]


def _pruned(removed: np.ndarray, wrong: np.ndarray) -> str:
    hits = int((removed & wrong).sum())
    return (
        f"Confident learning (prune by noise rate) removes {int(removed.sum()):,}: precision {hits / max(1, removed.sum()):.4f}, "
        f"recall {hits / wrong.sum():.4f}."
    )


def _recalls(judged: Judged, wrong: np.ndarray) -> str:
    total, found = int(wrong.sum()), wrong[judged.scores.order].cumsum()
    lengths = sorted({max(1, round(share * total)) for share in (0.25, 0.5, 1, 1.5, 2)} & set(range(1, len(wrong) + 1)))
    rows = []
    for length in lengths:
        planted = recall(judged.planted_ranks, length)
        rows.append([length, planted.value, planted.low, planted.high, found[length - 1] / total])
    return tabulate(rows, ["first", "recall by planted errors", "low", "high", "true recall"], tablefmt="github", floatfmt=".3f")
