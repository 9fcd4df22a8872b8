"""Classify a folder of parquet files on a cluster of dask."""

import dask.dataframe as dd
from dask.distributed import Client

import skdygen


def classify(part, clf):
    """Add the class of each text of a partition, and how probable it is."""
    found = clf.predict_proba(part["text"])
    label = clf.classes_[found.argmax(axis=1)]
    return part.assign(label=label, probability=found.max(axis=1))


if __name__ == "__main__":  # workers on this machine import this file
    with Client() as client:
        clf = skdygen.load("model.skops")
        everywhere = client.scatter(clf, broadcast=True)  # once to each worker
        texts = dd.read_parquet("texts", columns=["text"])
        meta = {"text": str, "label": str, "probability": float}
        found = texts.map_partitions(classify, everywhere, meta=meta)
        found.to_parquet("classified", write_index=False)
