"""Files of a cache with one bit flipped, or cut."""

import logging

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdygen import DyGenClassifier
from skdygen.denoisers import TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics
from skdygen.priors import UniformPrior
from tests.attacks import cases
from tests.conftest import make_word_texts

pytestmark = pytest.mark.long

TEXTS, LABELS = make_word_texts(60)
LABELS[::7] = LABELS[1]


@pytest.mark.filterwarnings("ignore:Function _:joblib.memory.JobLibCollisionWarning")
@pytest.mark.filterwarnings("ignore:Cannot detect name collisions")
def test_damaged_entries_are_computed_again(tmp_path, caplog):
    stages = IncrementalDynamics(n_epochs=3), UniformPrior(), TransitionMatrixDenoiser()
    clf = DyGenClassifier(*stages, memory=tmp_path, random_state=0)
    expected = clf.fit(TEXTS, LABELS).predict_proba(TEXTS)
    assert len([*tmp_path.rglob("output.pkl")]) == 3
    caplog.set_level(logging.ERROR)
    for number in cases(100):
        rng = np.random.RandomState(number)
        kinds = "*.pkl", "*.pkl", "*.sha256", "metadata.json", "func_code.py"
        paths = sorted(tmp_path.rglob(kinds[number % len(kinds)]))
        path = paths[rng.randint(len(paths))]
        content = bytearray(path.read_bytes())
        place = rng.randint(len(content))
        content[place] ^= 1 << rng.randint(8)
        path.write_bytes(content[:place] if number % 10 > 7 else content)
        found = clf.fit(TEXTS, LABELS).predict_proba(TEXTS)
        assert_array_equal(found, expected, err_msg=f"case {number}, {path}")
