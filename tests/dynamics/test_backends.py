"""Models that sentence-transformers has loaded for another backend than torch.

With OpenVINO where it is installed, and everywhere with a stand-in for what it runs.
"""

import copy
import logging
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sentence_transformers import SentenceTransformer
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skdygen
from skdygen import DyGenClassifier
from skdygen.dynamics._hub import ModelNotFoundError
from tests.conftest import save_tiny_model
from tests.dynamics.conftest import (
    LABELS,
    TEXTS,
    assert_same,
    before_steps,
    make_dynamics,
)

FULL = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}  # not half precision
LONG = [" ".join(TEXTS[:9]), *TEXTS[1:]]
# Which warns, seeds random numbers and leaves files.
EXPORT = """
import sys
from sentence_transformers import SentenceTransformer
SentenceTransformer(sys.argv[1], backend="openvino").save(sys.argv[2])
"""
REASON = "needs pip install 'optimum-intel[openvino]'"


class Runner:
    """Runs a transformer as OpenVINO does: it holds what cannot be copied or shared."""

    device = torch.device("cpu")
    meeting = None  # where threads wait until each of them is at work

    def __init__(self, model):
        self.config, self.model, self.request = model.config, model, threading.Lock()

    def clear_requests(self):
        self.request = None

    def forward(self, **features):
        self.request = self.request or threading.Lock()
        if not self.request.acquire(blocking=False):
            raise RuntimeError("Infer Request is busy")
        if self.meeting is not None:
            self.meeting.wait(timeout=5)
        self.request.release()
        return self.model(**features)


def stand_in(folder):
    """Load a model as one of OpenVINO's shows itself."""
    model = SentenceTransformer(folder, device="cpu").eval()
    model.backend = model[0].backend = "openvino"
    runner = Runner(model[0].model)
    del model[0].model
    model[0].model = runner
    return model


@pytest.fixture(scope="module")
def exported(tiny_model, tmp_path_factory):
    """Folder of the tiny model for OpenVINO, by a process of its own."""
    pytest.importorskip("optimum.intel", reason=REASON)
    folder = str(tmp_path_factory.mktemp("exported"))
    subprocess.run([sys.executable, "-c", EXPORT, tiny_model, folder], check=True)
    return folder


@pytest.fixture(scope="module", params=["stand-in", "OpenVINO"])
def loaded(request, tiny_model):
    """Model that something else than torch computes."""
    if request.param == "stand-in":
        return stand_in(tiny_model)
    folder = request.getfixturevalue("exported")
    return SentenceTransformer(folder, backend="openvino", model_kwargs=FULL)


def make_frozen(model, **params):
    """Make a stage that reads ten tokens at once."""
    return make_dynamics(model, trainable_layers=0, max_length=10, **params)


def test_gives_what_torch_gives(loaded, tiny_model):
    by_torch = make_frozen(tiny_model)
    recorded = by_torch.fit_transform(LONG, LABELS)
    longest = loaded.max_seq_length
    dynamics = clone(make_frozen(loaded))
    assert dynamics.model is loaded  # nothing of which is changed
    assert_same(dynamics.fit_transform(LONG, LABELS), recorded, atol=2e-3)
    assert loaded.max_seq_length == longest
    assert_same(dynamics.transform(LONG), recorded, atol=2e-3)
    # What torch has fitted is served as well.
    assert_same(by_torch.set_params(model=loaded).transform(LONG), recorded, atol=2e-3)


@pytest.mark.parametrize("final", [None, LogisticRegression()])
def test_classifies(loaded, final):
    if final is not None:
        final = make_pipeline(TfidfVectorizer(), final)
    clf = DyGenClassifier(make_frozen(loaded), final_estimator=final, random_state=0)
    assert clone(clf).fit(TEXTS, LABELS).score(TEXTS, LABELS) > 0.8


def test_goes_into_no_file(loaded, tmp_path):
    clf = DyGenClassifier(make_frozen(loaded)).fit(TEXTS, LABELS)
    message = "model computes with backend='openvino', and goes into no file"
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(pickle.PicklingError, match=message):
            copied(clf)
    for bundle in (False, True):
        with pytest.raises(TypeError, match=rf"DyGenClassifier\.dynamics: {message}"):
            clf.save(tmp_path / "model.skops", bundle=bundle)
    with pytest.raises(TypeError, match=message):
        clf.set_params(memory=tmp_path).fit(TEXTS, LABELS)


def test_is_not_trained(loaded):
    dynamics = make_dynamics(loaded)
    for estimator in (dynamics, DyGenClassifier(dynamics)):
        with pytest.raises(ValueError, match="backend='openvino', and none of it"):
            estimator.fit(TEXTS, LABELS)


def test_threads_have_one_each(tiny_model, monkeypatch):
    dynamics = make_frozen(stand_in(tiny_model)).fit(TEXTS, LABELS)
    expected = dynamics.predict_proba(TEXTS[:3])
    with dynamics._networks(), dynamics._networks():
        pass  # two are ready
    with ThreadPoolExecutor(2) as threads:
        monkeypatch.setattr(Runner, "meeting", threading.Barrier(2))
        for found in threads.map(dynamics.predict_proba, [TEXTS[:3]] * 2):
            assert_array_equal(found, expected)


@pytest.mark.parametrize("is_resumed", [True, False])
def test_resumes_with_the_same_embeddings_only(
    tiny_model, tmp_path, caplog, monkeypatch, is_resumed
):
    other = save_tiny_model(tmp_path, seed=1)
    dynamics = make_frozen(stand_in(tiny_model), checkpoint_dir=tmp_path / "kept")

    def interrupt(number):
        if number == 8:  # five are an epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before_steps(patch, interrupt)
        with pytest.raises(KeyboardInterrupt):
            dynamics.fit(TEXTS, LABELS)
    if not is_resumed:
        dynamics.set_params(model=stand_in(other))
    with caplog.at_level(logging.INFO):
        dynamics.fit(TEXTS, LABELS)
    assert ("resuming" in caplog.text) == is_resumed


def test_folder_of_what_was_exported(tiny_model, tmp_path):
    folder = tmp_path / "exported"
    shutil.copytree(tiny_model, folder)
    (folder / "openvino").mkdir()
    (folder / "openvino" / "openvino_model.xml").touch()
    make_frozen(folder).fit(TEXTS, LABELS)  # torch's weights come first
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"(?i)openvino"):  # not there, or bad
        make_frozen(folder).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="backend='openvino', and none of it"):
        make_dynamics(folder).fit(TEXTS, LABELS)


def test_folder_exported_by_openvino(exported, tiny_model, tmp_path):
    texts = TEXTS[:20]
    clf = DyGenClassifier(make_frozen(exported), random_state=0)
    found = clf.fit(TEXTS, LABELS).predict_proba(texts)
    by_torch = clone(clf).set_params(dynamics__model=tiny_model).fit(TEXTS, LABELS)
    assert_allclose(found, by_torch.predict_proba(texts), atol=0.05)
    copied = pickle.loads(pickle.dumps(clf))
    clf.save(tmp_path / "model.skops")
    again = skdygen.load(tmp_path / "model.skops", warm=True)
    for other in (copied, again):
        assert_array_equal(other.predict_proba(texts), found)
    with pytest.raises(ValueError, match="bundle=True: the model computes with"):
        clf.save(tmp_path / "whole.skops", bundle=True)
