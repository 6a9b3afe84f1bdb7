"""The names a `.skops` file may hold without anybody's trust, beyond those skops allows itself.

skops allows scikit-learn's estimators, numpy's ufuncs, dtypes and arrays. A name in its `trusted`
list is allowed *anywhere* in the file, even as a constructor called with data from the file, so the
rule for this list is: calling it with any plain data only computes a value. It has data holders and
pure functions of numbers; nothing that opens files, imports, evaluates text or calls what it is
given. Trees and neighbour indexes hold raw positions besides: `sklearn_contents` checks those.
"""

from __future__ import annotations

_DATA_HOLDERS = """
    numpy.dtype
    scipy.sparse._csr.csr_matrix
    scipy.sparse._csc.csc_matrix
    scipy.sparse._csr.csr_array
    scipy.sparse._csc.csc_array
    sklearn._loss.link.BaseLink
    sklearn._loss.link.HalfLogitLink
    sklearn._loss.loss.HalfTweedieLoss
    sklearn._loss.loss.HalfTweedieLossIdentity
    sklearn.calibration._CalibratedClassifier
    sklearn.calibration._SigmoidCalibration
    sklearn.calibration._TemperatureScaling
    sklearn.cluster._bisect_k_means._BisectingTree
    sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor
    sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace
    sklearn.metrics._scorer._CurveScorer
    sklearn.metrics._scorer._PassthroughScorer
    sklearn.metrics._scorer._Scorer
    sklearn.multiclass._ConstantPredictor
    sklearn.neighbors._ball_tree.BallTree
    sklearn.neighbors._ball_tree.BallTree32
    sklearn.neighbors._kd_tree.KDTree
    sklearn.neighbors._kd_tree.KDTree32
    sklearn.neural_network._stochastic_optimizers.AdamOptimizer
    sklearn.neural_network._stochastic_optimizers.SGDOptimizer
    sklearn.tree._tree.Tree
    sklearn.utils._bunch.Bunch
    sklearn.utils._metadata_requests.MetadataRequest
    sklearn.utils._metadata_requests.MethodMetadataRequest
"""

_FUNCTIONS_OF_NUMBERS = """
    numpy.amax
    numpy.amin
    numpy.max
    numpy.mean
    numpy.median
    numpy.min
    numpy.sum
    sklearn.cluster._kmeans._kmeans_single_elkan
    sklearn.cluster._kmeans._kmeans_single_lloyd
    sklearn.feature_selection._mutual_info.mutual_info_classif
    sklearn.feature_selection._mutual_info.mutual_info_regression
    sklearn.feature_selection._univariate_selection.chi2
    sklearn.feature_selection._univariate_selection.f_classif
    sklearn.feature_selection._univariate_selection.f_regression
    sklearn.feature_selection._univariate_selection.r_regression
    sklearn.metrics._classification.accuracy_score
    sklearn.metrics._classification.balanced_accuracy_score
    sklearn.metrics._classification.f1_score
    sklearn.metrics._classification.log_loss
    sklearn.metrics._classification.precision_score
    sklearn.metrics._classification.recall_score
    sklearn.metrics._ranking.roc_auc_score
    sklearn.metrics._regression.mean_absolute_error
    sklearn.metrics._regression.mean_squared_error
    sklearn.metrics._regression.r2_score
    sklearn.metrics._regression.root_mean_squared_error
"""

_SPLITTERS = (
    "GroupKFold KFold LeaveOneOut RepeatedKFold ShuffleSplit StratifiedKFold TimeSeriesSplit"
)
_KERNELS = (
    "CompoundKernel ConstantKernel DotProduct Exponentiation ExpSineSquared Matern Product RBF "
    "RationalQuadratic Sum WhiteKernel"
)
_DISTANCES = (
    "BrayCurtis Canberra Chebyshev Dice Euclidean Hamming Jaccard Mahalanobis Manhattan Minkowski "
    "RogersTanimoto RussellRao SEuclidean SokalSneath"
)

ALLOWED = frozenset(
    [
        *_DATA_HOLDERS.split(),
        *_FUNCTIONS_OF_NUMBERS.split(),
        *(f"sklearn.model_selection._split.{name}" for name in _SPLITTERS.split()),
        *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS.split()),
        *(
            f"sklearn.metrics._dist_metrics.{name}Distance{suffix}"
            for name in _DISTANCES.split()
            for suffix in ("", "32", "64")
        ),
    ]
)
