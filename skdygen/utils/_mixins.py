"""Small abilities that several estimators share."""

import numpy as np
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted


class TextInputMixin:
    """Tells scikit-learn that `X` is a collection of texts, with a label each."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags


class FrameOutputMixin:
    """Lets `set_output` make frames of flattened trajectories."""

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the flattened embeddings.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        names : ndarray of shape (n_branches * n_epochs * n_features,)
            Such as "branch0_epoch1_feature17", all counted from 0; epochs among those
            that are recorded.
        """
        check_is_fitted(self)
        names = [
            f"branch{branch}_epoch{epoch}_feature{feature}"
            for branch, epoch, feature in np.ndindex(self.trajectory_shape_)
        ]
        return np.array(names, dtype=object)

    def _give(self, trajectories):
        """Give what scikit-learn can make a frame of, if it is to make one."""
        wanted = _get_output_config("transform", self)["dense"]
        return trajectories if wanted == "default" else np.asarray(trajectories)
