"""One measurement of `benchmarks.paired`: JSON in, JSON out.

It imports nothing of this package: PYTHONPATH says which checkout is measured.
"""

import json
import resource
import sys
import tempfile
import time

from sklearn.model_selection import GridSearchCV

from skdygen import DyGenClassifier, __file__

task, found = json.load(sys.stdin), {}


def measure(name, method, *args):
    """Call a method, and note what it took."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = method(*args)
    found[f"{name}, seconds"] = time.perf_counter() - start
    found[f"{name}, CPU seconds"] = time.process_time() - start_cpu
    return result


clf = DyGenClassifier(random_state=0).set_params(**task["params"])
if task["grid"]:
    with tempfile.TemporaryDirectory() as folder:
        clf.set_params(memory=folder)
        grid = GridSearchCV(clf, task["grid"], cv=3, refit=False)
        measure("search", grid.fit, task["texts"], task["given"])
else:
    measure("fit", clf.fit, task["texts"], task["given"])
    predicted = measure("predict", clf.predict, task["new"])
    found["predictions right"] = float((predicted == task["new_gold"]).mean())
found["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
json.dump([__file__, found], sys.stdout)
