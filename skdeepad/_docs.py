"""Documentation that all deep detectors share, written once."""

import inspect

SHARED = {
    "shared_parameters": """\
hidden_layer_sizes : int or tuple of int, default={hidden_layer_sizes}
    Units of the hidden layers from the row to the code; with
    ``architecture="conv"`` the channels of convolutions, each of which halves
    height and width.
latent_dim : int or None, default={latent_dim}
    Width of the code, a linear layer after the hidden ones. With None the
    last hidden layer, with its activation, is the code; in convolutional
    networks and in a VAE, a linear layer of as many units or channels.
architecture : {"mlp", "conv"}, default="mlp"
    Fully connected or convolutional networks. X stays two-dimensional.
image_shape : tuple (channels, height, width), default=None
    How ``architecture="conv"`` reads a row.
{training_parameters}""",
    "training_parameters": """\
activation : {activations}, default="{activation}"
    Activation after each hidden layer.
batch_norm : bool, default={batch_norm}
    Normalise each hidden layer over the batch before its activation.
dropout : float in [0, 1), default={dropout}
    Probability with which a hidden unit is dropped in training.
standardize : bool, default={standardize}
    Centre and scale each feature inside, by the training rows' mean and
    standard deviation. The scale travels with the fitted detector.
max_epochs : int, default={max_epochs}
    Passes over the training rows.
batch_size : int, default={batch_size}
    Rows of a training step.
learning_rate : float, default={learning_rate}
    Step size of Adam.
weight_decay : float, default={weight_decay}
    L2 penalty on all weights and biases.
early_stopping : bool, default={early_stopping}
    Hold out rows, stop when their loss no longer falls, and keep the best
    weights. Raise ``max_epochs`` with it, to 1000 say: the default is for training
    without.
validation_fraction : float in (0, 1), default={validation_fraction}
    Share of the training rows to hold out for early stopping.
n_iter_no_change : int, default={n_iter_no_change}
    Epochs without a better held-out loss after which training stops.
n_estimators : int, default={n_estimators}
    Networks trained side by side, each with its own weights, order of rows
    and noise. Their anomaly scores are averaged. The first networks are the
    same whatever their number.
warm_start : bool, default=False
    Continue from the fitted networks for ``max_epochs`` more epochs at the
    next ``fit``, in the scale first learned, with a new optimizer (whose first
    steps undo some of what was learned). The layers, among which is ``dropout``
    unless it is 0, their activations and ``n_estimators`` must be those of the first
    fit.
checkpoint_dir : str or path-like, default=None
    Folder for the state of a long ``fit``, written after an epoch, ten
    seconds apart at least. A fit that was interrupted goes on from there
    when it is started again with the same parameters and rows, to the same
    result as if it had not been. The file is removed when the fit ends. Needs a
    ``random_state``.
    ``BatchedGridSearchCV`` keeps files of its own there (see its notes), and
    ``partial_fit`` none.
precision : {"float32", "tf32", "bf16", "auto"}, default="float32"
    Precision of the matrix products in training; weights, their updates and
    scores stay float32 or better. "bf16" (bfloat16) is 1.7 to 2.7 times as quick for
    large networks (not with ``architecture="conv"``) where the processor has such
    instructions, and "auto" takes it there. "tf32" is for GPUs alone: float32 with
    the 10 bit mantissa of their tensor cores. "float32" is exact there too, also in
    convolutions, where torch by itself takes TF32; and on the CPU, whatever
    ``torch.set_float32_matmul_precision`` allows: a fit sets that aside for the
    process.
cuda_graphs : bool or "auto", default="auto"
    Record a training step on a GPU as a CUDA graph and replay it: one launch in place
    of dozens, which take most of a step of a small network. Results are the same.
    "auto" does so on a GPU for this package's detectors, but not with ``distributed``,
    which True refuses. While a step is recorded, for some milliseconds, no other
    thread of yours may synchronize with the whole GPU, record, or use torch's
    global generator of the GPU.
distributed : bool, default=False
    Train with all processes of ``torch.distributed``'s default group, which
    call ``fit`` with the same rows: each takes its share of every batch,
    and all end with the same networks. The first process's callbacks decide
    whether training stops.
{threshold_parameters}
device : str, default="auto"
    "cpu", "cuda", "cuda:1"; "auto" is CUDA when there is a device. May be
    changed on a fitted detector.
random_state : int, RandomState instance or None, default=None
    Seeds weights, order of rows and noise. With None the seed comes from NumPy's
    global generator, as in scikit-learn; no other use is made of a global one.
verbose : bool or int, default=False
    Print one line per epoch.""",
    "threshold_parameters": """\
threshold : {"auto", "max_train", "quantile", "roc", "youden", "f1", \
"conformal", "mad", "pareto"}, float or object, default="auto"
    How ``offset_`` is chosen, see :mod:`skdeepad.thresholds`. "auto" is the
    largest training error ("max_train", which the worst training row
    reaches: it is labelled an anomaly), or the quantile when
    ``contamination`` is a number. "roc", "youden" and "f1" need labels.
    "conformal" holds rows out of training and bounds the false-alarm rate.
    A number is the largest anomaly score of a normal row. An object has a
    method ``find_offset(scores, y)``.
contamination : "auto" or float in (0, 0.5], default="auto"
    Share of the training rows to flag, as in scikit-learn's detectors; where there are
    labels, of the rows of +1. ``threshold="quantile"`` without a number here flags 0.1
    of them. Of new normal rows more are flagged, since a detector gives the rows it
    was trained on better scores: 6 to 63 % for 0.05, by detector (documentation,
    *What thresholds do on new rows*). For a rate that new rows keep to, leave it at
    "auto" and set ``threshold=Conformal(alpha=0.05)``.""",
    "support_parameter": """\
support_fraction : float in (0, 1], default=1.0
    Share of each batch, rounded down to whole rows, that a step trains on; the rows
    that look most anomalous to the networks as they are then (by the anomaly score, or
    by the error or loss where a score is made of more) are left out. For training rows
    with unlabelled anomalies among them (iterative trimmed loss minimization, Shen
    and Sanghavi, ICML 2019, within each batch). Leave out more rows than there are
    anomalies; 0.8 was a good choice on ADBench. Set ``contamination`` too: the
    default threshold would be an anomaly's error, above which next to nothing is
    flagged. ``history_`` is the mean of the rows that are left, and lower the smaller
    the fraction. Training takes up to two thirds longer.""",
    "decoder_parameters": """\
decoder_layer_sizes : int or tuple of int, default=None
    Units (or channels) of the hidden layers from the code to the row, in the
    order of computation. None mirrors ``hidden_layer_sizes``.
output_activation : {"identity", "sigmoid"}, default="{output_activation}"
    "sigmoid" bounds the reconstruction to (0, 1), for X in [0, 1] and
    ``standardize=False``.""",
    "shared_attributes": """\
history_ : dict of ndarray of shape (`n_iter_`,)
    Per epoch, the loss and its parts, averaged over the rows and over the networks
    that still train; ``"validation_loss"`` with early stopping. With several
    networks the mean may jump where one of them stops.
n_iter_ : int
    Epochs trained; with early stopping, of the network that went on longest.
scaler_ : StandardScaler
    The scale of the training rows.
device_ : str
    Device the detector was trained on.
{detector_attributes}""",
    "detector_attributes": """\
offset_ : float
    Threshold: ``decision_function`` is ``score_samples`` minus it.
calibration_scores_ : ndarray of shape (n_calibration,)
    With a conformal threshold, sorted scores of the rows held out.
n_features_in_ : int
    Number of features seen in ``fit``.
feature_names_in_ : ndarray of shape (`n_features_in_`,)
    Names of the features, where X had names in ``fit``.""",
}


def insert_shared_docs(cls):
    """Fill the ``{name}`` lines of a class docstring with the shared texts.

    A default is shown as the class has it.
    """
    if not cls.__doc__ or not any("{" + name + "}" in cls.__doc__ for name in SHARED):
        return
    doc = inspect.cleandoc(cls.__doc__)
    for name, text in SHARED.items():
        doc = doc.replace("{" + name + "}", text)
    if "{activations}" in doc:
        (options,) = cls._parameter_constraints["activation"]
        names = ", ".join(f'"{name}"' for name in sorted(options.options))
        doc = doc.replace("{activations}", f"{{{names}}}")
    for base in cls.__mro__:
        for name in inspect.get_annotations(base):
            doc = doc.replace("{" + name + "}", str(getattr(cls, name, None)))
    cls.__doc__ = doc
