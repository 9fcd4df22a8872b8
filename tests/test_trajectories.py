import pickle
import tempfile

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file
from sklearn.base import clone

from skdygen import Trajectories, _memmap, _trajectories
from skdygen._memmap import folder_of_mapped
from skdygen.dynamics import IncrementalDynamics


def assert_same(left, right):
    assert left.fine_tuned == right.fine_tuned
    names = ("embeddings", "probabilities", "classes", "prior", "opinions")
    names = (*names, "opinion_weights", "groups")
    pairs = [(getattr(left, name), getattr(right, name)) for name in names]
    assert left.views.keys() == right.views.keys()
    pairs += [(left.views[name], right.views[name]) for name in left.views]
    for one, other in pairs:
        assert (one is None) == (other is None)
        if one is not None:
            assert_array_equal(one, other)
            assert one.dtype == other.dtype


@pytest.fixture
def with_prior(random_trajectories):
    rng = np.random.RandomState(1)
    views = {"initial": rng.randn(40, 7), "some words": rng.randn(40, 2)}
    opinions = rng.dirichlet(np.ones(4), size=(40, 3))
    arrays = vars(random_trajectories.with_views(views).with_groups(np.arange(40) // 2))
    found = Trajectories._unchecked(**arrays | {"fine_tuned": True})
    return found.with_prior(opinions[:, 0], opinions, [0.5, 0.25, 0.25])


@pytest.fixture
def mapped(with_prior, tmp_path):
    with_prior.save(tmp_path / "trajectories.safetensors")
    mapped = Trajectories.load(tmp_path / "trajectories.safetensors", max_nbytes=0)
    assert folder_of_mapped(mapped.embeddings)
    return mapped


def test_looks_like_a_2d_array(random_trajectories):
    assert random_trajectories.shape == (40, 2 * 3 * 5)
    assert len(random_trajectories) == len(list(random_trajectories)) == 40
    flat = np.asarray(random_trajectories)
    assert_array_equal(flat[7], random_trajectories.embeddings[7].ravel())
    halves = Trajectories(np.ones((2, 1, 1, 3), np.float16), np.ones((2, 1, 1, 1)))
    assert flat.dtype == np.asarray(halves).dtype == np.float32
    assert np.asarray(halves, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(3, 9, 2), [3, 5, 7]),
        (np.array([5, 0, 5]), [5, 0, 5]),
        (np.arange(40) % 10 == 0, [0, 10, 20, 30]),
        ((np.array([1, 2]), ...), [1, 2]),
        (4, [4]),
        (-1, [39]),
        (np.array([], dtype=int), []),
    ],
)
@pytest.mark.parametrize("storage", ["with_prior", "mapped"])
def test_row_indexing(storage, rows, expected, request):
    trajectories = request.getfixturevalue(storage)
    taken = trajectories[rows]
    for name in ("embeddings", "probabilities", "prior", "opinions"):
        assert_array_equal(getattr(taken, name), getattr(trajectories, name)[expected])
    for name, view in trajectories.views.items():
        assert_array_equal(taken.views[name], view[expected])
    for name in ("classes", "opinion_weights", "fine_tuned"):
        assert_array_equal(getattr(taken, name), getattr(trajectories, name))


def test_many_rows_of_mapped_trajectories_are_mapped(mapped, monkeypatch):
    rows = np.array([3, 1])
    folder = folder_of_mapped(mapped.embeddings)
    assert folder_of_mapped(mapped[:3].embeddings) == folder
    assert folder_of_mapped(mapped[rows].embeddings) is None
    monkeypatch.setattr(_memmap, "_MOST_ROWS_IN_MEMORY", 10)
    taken = mapped[rows]
    assert folder_of_mapped(taken.embeddings) == folder
    assert_same(taken, mapped[rows])


def test_more_classes_of_mapped_trajectories_are_mapped(mapped, monkeypatch):
    classes = [*mapped.classes, "z"]
    assert folder_of_mapped(mapped.with_classes(classes).probabilities) is None
    monkeypatch.setattr(_memmap, "_MOST_ROWS_IN_MEMORY", 10)
    more = mapped.with_classes(classes).probabilities
    assert folder_of_mapped(more) == folder_of_mapped(mapped.probabilities)
    assert_array_equal(more[..., :4], mapped.probabilities)
    assert not more[..., 4].any()
    fewer = mapped.with_classes(classes).with_classes(mapped.classes)
    assert_array_equal(fewer.probabilities, mapped.probabilities)


def test_copies_of_what_others_have_mapped(random_trajectories, tmp_path, monkeypatch):
    for name in ("mine", "temporary"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "mine" / "array.npy", random_trajectories.embeddings)
    array = np.load(tmp_path / "mine" / "array.npy", mmap_mode="r")
    monkeypatch.setattr(_memmap, "_MOST_ROWS_IN_MEMORY", 10)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    taken = Trajectories(array, random_trajectories.probabilities)[np.array([3, 1])]
    assert_array_equal(taken.embeddings, random_trajectories.embeddings[[3, 1]])
    assert folder_of_mapped(taken.embeddings) == tmp_path / "temporary"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "temporary"]


def test_indexing_ends(random_trajectories):
    with pytest.raises(IndexError):
        random_trajectories[40]
    with pytest.raises(IndexError, match="indexed by text only"):
        random_trajectories[:, 0]


@pytest.mark.parametrize("storage", ["with_prior", "mapped"])
def test_pickle_and_joblib(storage, request, tmp_path):
    trajectories = request.getfixturevalue(storage)
    assert_same(pickle.loads(pickle.dumps(trajectories)), trajectories)
    part = trajectories[10:20]
    assert len(pickle.dumps(part)) < len(pickle.dumps(trajectories)) / 2
    joblib.dump(part, tmp_path / "part")
    assert_same(joblib.load(tmp_path / "part"), part)


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(["a", "b"], np.float16), ([3, 7], np.float32), ([False, True], np.float64)],
)
def test_save_and_load(with_prior, tmp_path, classes, dtype):
    p = np.random.RandomState(0).dirichlet([1, 1], size=(40, 2, 3)).astype(dtype)
    saved = Trajectories(
        with_prior.embeddings.astype(dtype), p, classes,
        views={"initial": with_prior.views["initial"].astype(dtype)},
    )  # fmt: skip
    saved.save(tmp_path / "file")
    loaded = Trajectories.load(tmp_path / "file")
    assert_same(loaded, saved)
    with_prior.save(tmp_path / "file")
    assert_same(Trajectories.load(tmp_path / "file"), with_prior)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_load_refuses_other_files(tmp_path, random_trajectories):
    save_file({"x": np.zeros(3)}, tmp_path / "other")
    with pytest.raises(ValueError, match="does not hold Trajectories"):
        Trajectories.load(tmp_path / "other")
    random_trajectories.save(tmp_path / "cut")
    content = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged"):
        Trajectories.load(tmp_path / "cut")
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    (tmp_path / "flipped").write_bytes(flipped)
    with pytest.raises(ValueError, match=r"flipped is damaged .* another checksum"):
        Trajectories.load(tmp_path / "flipped")
    with pytest.raises(OSError, match="not a regular file"):
        Trajectories.load(tmp_path)
    endless = {"embeddings": np.zeros((10**6, 1, 1, 0), np.float32)}
    save_file(
        endless,
        tmp_path / "endless",
        {"format": "skdygen.Trajectories", "version": "1"},
    )
    with pytest.raises(ValueError, match=r"endless is damaged .* is empty"):
        Trajectories.load(tmp_path / "endless")


def test_temporary_file_goes_with_the_last_view(with_prior, tmp_path):
    with_prior.save(tmp_path / "file")
    folder = tmp_path / "mapped"
    folder.mkdir()
    mapped = Trajectories.load(tmp_path / "file", max_nbytes=100, temp_folder=folder)
    view = mapped.embeddings[2:4]
    del mapped
    assert any(folder.iterdir())
    assert_array_equal(view, with_prior.embeddings[2:4])
    del view
    assert not any(folder.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": np.zeros((3, 2, 2))}, "embeddings must be a 4-d array"),
        ({"embeddings": np.zeros((4, 2, 2, 5))}, "must agree"),
        ({"classes": ["a"]}, "classes must hold 3 labels"),
        ({"classes": ["b", "a", "c"]}, "classes must be sorted"),
        ({"classes": ["a", "a", "b"]}, "classes must be sorted"),
        ({"classes": ["a", "a\0", "b"]}, "classes has the label .* strip the NUL"),
        ({"classes": [1, 2, 2**64]}, "too large for 64 bits"),
        ({"prior": np.zeros((3, 2))}, "prior must have shape"),
        ({"opinions": np.zeros((3, 5, 2))}, "opinions must have shape"),
        ({"opinion_weights": [1.0]}, "opinion_weights must hold 0 numbers"),
        (
            {"groups": [0, 1]},
            "groups must hold 3 integers, one per text, but has shape",
        ),
        ({"groups": [0, 1, 0.5]}, "groups must hold 3 integers"),
        ({"groups": ["a", "b", "c"]}, "groups must be a 1-d array of numbers"),
        ({"views": {"a": np.zeros((2, 7))}}, "'a'.* must have 3 rows"),
        ({"views": {"a": np.zeros(3)}}, "'a'.* must be a 2-d array"),
        ({"probabilities": np.full((3, 2, 2, 3), "a")}, "array of numbers"),
    ],
)
def test_arrays_that_do_not_fit(change, message):
    fit = {"embeddings": np.ones((3, 2, 2, 5)), "probabilities": np.ones((3, 2, 2, 3))}
    with pytest.raises(ValueError, match=message):
        Trajectories(**(fit | change))


def with_value(array, row, value):
    array = array.copy()
    array[row, ..., -1] = value
    return array


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("embeddings", np.nan, "embeddings has nan in row 17, .* leave this text out"),
        ("embeddings", np.inf, "embeddings has inf in row 17"),
        ("probabilities", np.nan, "probabilities has nan in row 17"),
        ("probabilities", -0.1, "row 17 sum .*, the smallest is -0.1: .* at least 0"),
        ("probabilities", 2.0, "probabilities in row 17 sum up to 2.* divide them by"),
        ("prior", 2.0, "prior in row 17 .* no distribution"),
        ("opinions", -1.0, "opinions in row 17 .* no distribution"),
        ("views", np.nan, r"views\['initial'\] has nan in row 17"),
    ],
)
def test_bad_numbers(with_prior, tmp_path, monkeypatch, name, value, message):
    monkeypatch.setattr(_memmap, "_ROWS_AT_ONCE", 7)
    if name == "views":
        wrong = {"initial": with_value(with_prior.views["initial"], 17, value)}
    else:
        wrong = with_value(getattr(with_prior, name), 17, value)
    arrays = vars(with_prior) | {name: wrong}
    del arrays["_neighbors"]
    with pytest.raises(ValueError, match=message):
        Trajectories(**arrays)
    damaged = Trajectories._unchecked(**vars(with_prior) | {name: wrong})
    damaged.save(tmp_path / "file")
    with pytest.raises(ValueError, match=message):
        Trajectories.load(tmp_path / "file", max_nbytes=0)
    if name in ("prior", "opinions"):
        with pytest.raises(ValueError, match=message):
            with_prior.with_prior(damaged.prior, damaged.opinions)
    if name == "views":
        with pytest.raises(ValueError, match=message):
            with_prior.with_views(wrong)


def test_weights_that_do_not_sum_to_one(with_prior):
    with pytest.raises(ValueError, match=r"opinion_weights .* sum up to 1\.5"):
        with_prior.with_prior(with_prior.prior, with_prior.opinions, [0.5, 0.5, 0.5])


def test_parts_are_not_read_again(random_trajectories, monkeypatch):
    monkeypatch.setattr(_trajectories, "check_numbers", None)
    part = random_trajectories[3:9].with_classes(["a", "b", "c", "d", "e"])
    assert len(pickle.loads(pickle.dumps(part))[np.array([1, 2])]) == 2


@pytest.mark.long
def test_mapped_by_another_process(word_texts, tmp_path):
    texts, _, noisy = word_texts
    dynamics = IncrementalDynamics(
        max_nbytes=0, temp_folder=str(tmp_path), random_state=0
    )
    expected = dynamics.fit_transform(texts, noisy)
    assert len(list(tmp_path.iterdir())) == 3  # embeddings, probabilities, a view
    calls = [delayed(clone(dynamics).fit_transform)(texts, noisy) for _ in range(4)]
    for found in Parallel(n_jobs=2)(calls):
        assert_array_equal(found.embeddings, expected.embeddings)
        assert_array_equal(found.probabilities, expected.probabilities)
    # A worker is told where to read, not sent a copy.
    calls = [delayed(_is_mapped)(expected[i:]) for i in range(2)]
    assert Parallel(n_jobs=2)(calls) == [True, True]
    del expected, calls
    assert list(tmp_path.iterdir()) == []


def _is_mapped(trajectories):
    return folder_of_mapped(trajectories.embeddings) is not None
