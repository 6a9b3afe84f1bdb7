"""Opens scikit-learn files: `.skops` by an allow-list, pickles only with the user's word."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

from edgekit.backends.kept import kept
from edgekit.backends.pickle_names import PickleNames, pickle_names
from edgekit.backends.sklearn_answers import number_columns
from edgekit.backends.sklearn_contents import check_contents, parts
from edgekit.backends.sklearn_types import ALLOWED
from edgekit.core.artifact import Format, ModelSource
from edgekit.core.noun import Noun
from edgekit.errors import MalformedError, UnavailableError, UnsupportedError, UntrustedError

_SHOWN = 12


class Opened(Noun):
    """An estimator, the version of scikit-learn that wrote it, and what is to be said about that."""

    estimator: Any
    version: str = ""
    notes: tuple[str, ...] = ()


def open_estimator(source: ModelSource) -> Any:
    """The fitted estimator in `source`; do not change it: one child opens a file once.

    Raises UntrustedError where the file holds a type that is not known to be harmless and the user
    has not allowed the file, MalformedError where it is broken, UnsupportedError where the installed
    scikit-learn cannot read what an older one wrote.
    """
    return open_file(source).estimator


def open_file(source: ModelSource) -> Opened:
    """As `open_estimator`, with the notes: the version that wrote the file, where it is another."""
    return _open(source.path, source.format, source.sha256, source.trusted)


@kept
def _open(path: str, format: Format, sha256: str, trusted: bool) -> Opened:  # noqa: FBT001
    data = Path(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise MalformedError(f"{path} has changed since edgekit first read it", fix="run it again")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if format is Format.SKOPS:
            estimator = _from_skops(data, Path(path).name, sha256, trusted=trusted)
        else:
            estimator = _from_pickle(data, Path(path).name, sha256, trusted=trusted)
    if not (hasattr(estimator, "get_params") and hasattr(type(estimator), "fit")):
        raise UnsupportedError(
            f"{path} holds a {type(estimator).__name__}, not a scikit-learn estimator",
            fix="save the fitted estimator itself, or a Pipeline around all steps",
        )
    for part, _ in parts(estimator):
        if type(part).__name__ == "ColumnTransformer" and hasattr(part, "transformers_"):
            number_columns(part)
    stale = _stale(caught)
    return Opened(
        estimator=estimator,
        version=next(iter(stale), ("",))[0],
        notes=tuple(
            f"written by scikit-learn {old} and read by {new} ({', '.join(names)}): "
            "scikit-learn does not promise equal answers"
            for (old, new), names in stale.items()
        ),
    )


def _from_skops(data: bytes, name: str, sha256: str, *, trusted: bool) -> Any:
    import skops.io
    from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401

    try:
        unknown = set(skops.io.get_untrusted_types(data=data)) - ALLOWED
        if unknown and not trusted:
            raise UntrustedError(
                f"{name} holds types that edgekit does not know to be harmless, and opening it "
                f"would import and build them: {_listed(sorted(unknown))}",
                fix=f"if you trust whoever made the file, add --trust sha256:{sha256}",
            )
        estimator = skops.io.loads(data, trusted=sorted(unknown | ALLOWED))
    except _BROKEN as error:
        raise MalformedError(f"{name} is not a skops file that skops can read: {error}") from error
    if not trusted:
        check_contents(estimator)
    return estimator


_BROKEN = (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, ImportError)


def _from_pickle(data: bytes, name: str, sha256: str, *, trusted: bool) -> Any:
    found = pickle_names(data)
    if not trusted:
        raise UntrustedError(
            f"{name} is a pickle: opening it runs what it says. It would import and may call: "
            f"{_would_run(found)}",
            fix=f"if you trust whoever made the file, add --trust sha256:{sha256}; "
            "or save the model with skops.io.dump, which edgekit opens without trust",
        )
    import joblib

    try:
        return joblib.load(io.BytesIO(data))
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{name} needs a package that is not installed here: {error.name}",
            fix=f"install {error.name} into the environment of edgekit",
        ) from error
    except (
        ValueError,
        AttributeError,
        TypeError,
        KeyError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise _unreadable(name, found, error) from error


def _would_run(found: PickleNames) -> str:
    rest = tuple(other for other in found.names if other not in found.foreign)
    tail = "" if found.complete else "; and what follows could not be read"
    return _listed([*found.foreign, *rest]) + tail


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _unreadable(name: str, found: PickleNames, error: Exception) -> Exception:
    import sklearn

    others = [version for version in found.versions if version != sklearn.__version__]
    if not others:
        return MalformedError(f"{name} cannot be unpickled: {type(error).__name__}: {error}")
    return UnsupportedError(
        f"{name} was written by scikit-learn {others[0]}, and {sklearn.__version__} cannot read it: "
        f"{str(error).splitlines()[0]}",
        fix=f"open it with scikit-learn {others[0]} and train it again with a newer one",
    )


def _stale(caught: list[warnings.WarningMessage]) -> dict[tuple[str, str], list[str]]:
    """Writing and reading version, with the classes read from the wrong one."""
    from sklearn.exceptions import InconsistentVersionWarning

    stale: dict[tuple[str, str], list[str]] = {}
    for entry in caught:
        said = entry.message
        if isinstance(said, InconsistentVersionWarning):
            versions = (said.original_sklearn_version, said.current_sklearn_version)
            names = stale.setdefault(versions, [])
            if said.estimator_name not in names:
                names.append(said.estimator_name)
    return stale
