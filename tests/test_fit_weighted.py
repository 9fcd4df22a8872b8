import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdygen._targets import fit_weighted

RNG = np.random.RandomState(0)
X, Y, WEIGHTS = RNG.randn(40, 2), RNG.randint(2, size=40), RNG.randint(3, size=40)


class Noting(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        self.weights_ = sample_weight
        return super().fit(X, y, sample_weight)


def test_every_step_that_takes_weights_gets_them():
    inner = make_pipeline(StandardScaler(), Noting())
    model = fit_weighted(make_pipeline(StandardScaler(), inner), X, Y, WEIGHTS)
    repeated = model[0].fit(np.repeat(X, WEIGHTS, axis=0)).mean_
    model = fit_weighted(make_pipeline(StandardScaler(), inner), X, Y, WEIGHTS)
    np.testing.assert_allclose(model[0].mean_, repeated)
    assert model[-1][-1].weights_ is WEIGHTS
    assert fit_weighted(Noting(), X, Y, None).weights_ is None
    fit_weighted(KNeighborsClassifier(), X, Y, WEIGHTS)  # takes none


@pytest.mark.parametrize("is_asked", [True, False])
def test_requests_decide_where_routing_is_enabled(is_asked):
    with config_context(enable_metadata_routing=True):
        model = Noting().set_fit_request(sample_weight=is_asked)
        found = fit_weighted(model, X, Y, WEIGHTS, on_request=True).weights_
        assert (found is WEIGHTS) == is_asked
        assert fit_weighted(model, X, Y, WEIGHTS).weights_ is WEIGHTS
