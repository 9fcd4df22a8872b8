import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from skdygen.datasets import make_texts


def test_corpus():
    texts, labels = make_texts(random_state=0)
    assert len(texts) == len(labels) == 600
    assert np.unique(labels, return_counts=True)[1].tolist() == [100] * 6
    assert len(set(texts)) > 590
    again, same = make_texts(random_state=0)
    assert (texts, labels.tolist()) == (again, same.tolist())
    assert texts != make_texts(random_state=1)[0]
    assert not any("{" in text or "  " in text for text in texts)


def test_words_alone_tell_much_but_not_all():
    texts, labels = make_texts(900, random_state=0)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=1000))
    assert 0.7 < cross_val_score(model, texts, labels).mean() < 0.97
