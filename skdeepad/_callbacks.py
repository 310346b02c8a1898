"""What scikit-learn's callbacks, and the user, are told of training."""

from skdeepad._base import snapshot


def print_epoch(estimator, epoch, history):
    """Print an epoch's losses, means over the networks that still train."""
    means = {name: losses[-1].nanmean() for name, losses in history.items()}
    parts = ", ".join(f"{name}={mean:.6g}" for name, mean in means.items())
    print(f"[{type(estimator).__name__}] epoch {epoch + 1}: {parts}")


class EpochReports:
    """Tells scikit-learn's callbacks, and the user, how training goes.

    The fit is the root task and each epoch a subtask of it, unless the networks were
    trained before (``run`` is None). Callbacks see all rows and labels of the fit.
    """

    def __init__(self, estimator, task, run):
        self._estimator, self._task, self._run = estimator, task, run
        self._heard = bool(getattr(estimator, "_skl_callbacks", None))

    def __enter__(self):
        n_epochs = 0 if self._run is None else self._estimator.max_epochs
        self._fit = self._estimator._init_callback_context(max_subtasks=n_epochs)
        self._begin(self._fit)
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self._end(self._fit)

    def epoch_begin(self):
        """Report that an epoch begins."""
        if not self._heard:
            return
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._begin(self._epoch)

    def epoch_end(self, epoch, history, state):
        """Report an epoch; True asks training to stop."""
        if self._estimator.verbose:
            print_epoch(self._estimator, epoch, history)
        if not self._heard:
            return False
        self.last = epoch + 1 - self._run.first_epoch, history, state
        return self._end(self._epoch)

    def _begin(self, task):
        task.call_on_fit_task_begin(
            estimator=self._estimator, X=self._task.X, y=self._task.y
        )

    def _end(self, task):
        return task.call_on_fit_task_end(
            estimator=self._estimator,
            X=self._task.X,
            y=self._task.y,
            reconstruction_attributes=self._fitted_attributes,
        )

    def _fitted_attributes(self):
        """What a copy needs to work as if training had ended here."""
        fitted = snapshot(self._estimator)
        if self._run is not None:
            self._run.finish(fitted, *self.last)
        fitted._set_threshold(self._task)
        return fitted.__dict__
