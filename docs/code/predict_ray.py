"""Classify a folder of parquet files on a cluster of ray."""

from pathlib import Path

import ray

import skdygen


class Classify:
    """Holds the model of one worker."""

    def __init__(self, path):
        self.clf = skdygen.load(path, warm=True)

    def __call__(self, batch):
        """Add the class of each text of a batch, and how probable it is."""
        found = self.clf.predict_proba(batch["text"])
        label = self.clf.classes_[found.argmax(axis=1)]
        return batch | {"label": label, "probability": found.max(axis=1)}


if __name__ == "__main__":
    here = Path.cwd()  # a folder that all machines see
    texts = ray.data.read_parquet(str(here / "texts")).select_columns(["text"])
    found = texts.map_batches(
        Classify,
        fn_constructor_args=[here / "model.skops"],
        batch_size=4096,
        compute=ray.data.ActorPoolStrategy(size=2),  # the number of workers
    )
    found.write_parquet(str(here / "classified"))
