"""Search on a cluster of dask."""

from pathlib import Path

import pandas as pd
from dask.distributed import Client
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from skdygen import DyGenClassifier

if __name__ == "__main__":  # workers on this machine import this file
    table = pd.read_csv("labels.csv")
    cache = Path("cache").resolve()  # a folder that all machines see
    clf = DyGenClassifier("frozen", memory=cache, random_state=0)
    grid = {"prior__contamination": [0.3, 0.5]}
    search = GridSearchCV(clf, grid, cv=2, error_score="raise")
    with Client(), parallel_config("dask"):
        search.fit(table["text"], table["label"])
    search.best_estimator_.save("model.skops")
