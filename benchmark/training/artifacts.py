"""Files that `keep` writes beside a trial's checkpoint: weights, evidence on training examples, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import save

from benchmark.records.store import Record, digest
from benchmark.training.evaluation import logits_on
from benchmark.training.trainer import Trainer
from datasets.source import UNKNOWN
from robust_benchmark.files import write

ENDINGS = {"weights": ".weights.safetensors", "evidence": ".evidence.parquet", "predictions": ".predictions.safetensors"}


def place(checkpoint_dir: str | Path, key: str, seed: int, kind: str) -> Path:
    """Return the path of a trial's artifact, by its kind, one of ENDINGS."""
    return Path(checkpoint_dir) / key / f"seed-{seed}{ENDINGS[kind]}"


def keep(kinds: Sequence[str], trainer: Trainer, checkpoint_dir: str, record: Record) -> None:
    """Write artifacts of a finished trial with this record. kinds: some of ENDINGS. Raises OSError."""
    makers = {"weights": _weights, "evidence": _evidence, "predictions": _predictions}
    with trainer.evaluated():
        for kind in kinds:
            write(place(checkpoint_dir, record["key"], record["seed"], kind), makers[kind](trainer, origin(record)))


def origin(record: Record) -> dict[str, str]:
    """Return the identity of an artifact: its trial, code and data."""
    return {"key": record["key"], "seed": str(record["seed"]), "made by": digest([record["fingerprint"], record["digests"]])}


def _weights(trainer: Trainer, metadata: dict[str, str]) -> bytes:
    """Return the method's parameters and buffers, as safetensors; for a table, with the conversion of its columns to features."""
    encoding = trainer.task.encoding
    metadata = metadata if encoding is None else metadata | {"encoding": encoding}
    return save({name: tensor.contiguous() for name, tensor in trainer.method.state_dict().items()}, metadata)


def _predictions(trainer: Trainer, metadata: dict[str, str]) -> bytes:
    """Return `logits`, float32 (n, classes), and true `labels`, int64 (n,), of the test set, as safetensors."""
    test = trainer.task.test
    with trainer.compute.autocast(trainer.device):  # predict as in evaluations
        logits = torch.from_numpy(logits_on(test, trainer.method, trainer.task.preprocessing, len(trainer.task.classes)))
    return save({"logits": logits, "labels": test.true_labels}, metadata)


def _evidence(trainer: Trainer, _: dict[str, str]) -> bytes:
    """Return a row for each training example, as Parquet.

    Columns: position in the source's training images, given and true label, mean loss and mean margin over all evaluations, number of
    evaluations with another prediction than the given label, last prediction, and last example weight times the batch size (missing
    without weights). Unknown true labels are missing; that of an image of another data set is the number of classes.
    """
    import pandas as pd  # import takes a second, and only this artifact needs it

    train, (loss, margin) = trainer.task.train, trainer.evidence.means()
    columns = {
        "position": trainer.task.train_positions,
        "given_label": train.labels,
        "true_label": train.true_labels,
        "loss": loss,
        "margin": margin,
        "wrong_events": trainer.evidence.wrong_events,
        "prediction": trainer.evidence.prediction,
        "weight": trainer.example_weights,
    }
    content = BytesIO()
    table = pd.DataFrame({name: tensor.cpu().numpy() for name, tensor in columns.items()})
    if not train.truth_is_known:
        table["true_label"] = table["true_label"].astype("Int64").mask(table["true_label"] == UNKNOWN)
    table.to_parquet(content, index=False)
    return content.getvalue()
