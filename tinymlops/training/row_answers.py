"""The answer of a model for one row: it is asked as for many rows, and the answer is read without frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.training.answers import class_values, kind_of_table, table_of, threads_for
from tinymlops.training.deciding import decided_one, decides_by_probability

if TYPE_CHECKING:
    from tinymlops.records import FeatureField, Signature

__all__ = ["RowAnswers"]

_DTYPES = {"Float64": pl.Float64(), "Int64": pl.Int64(), "Boolean": pl.Boolean()}
_KINDS = (bool, int, str)
"""Types of classes that are the same in a column and in Python."""


class RowAnswers:
    """A model that is asked for one row at a time.

    Args:
        model: A fitted estimator.
        signature: Its signature.
    """

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model, self._signature = model, signature
        self._kind = kind_of_table(model, signature.frame)
        self._known = class_values(model) or []
        self._named = {value: value for value in signature.classes or []}
        self._classifies = signature.task != "regression"
        self._gives_probabilities = self._classifies and hasattr(model, "predict_proba")
        self._once = self._gives_probabilities and decides_by_probability(model)
        self._places = [self._known.index(one) if one in self._known else None for one in self._named]
        fields = {field.name: field for field in signature.features}
        names = list(fields) if self._kind == "array" else list(getattr(model, "feature_names_in_", fields))
        self._order = [list(fields).index(name) for name in names]
        self._schema = {name: _dtype(fields[name]) for name in names}
        self._names = names
        self._is_numbers = all(dtype == pl.Float64 for dtype in self._schema.values())
        self._categories = [_categories(field) for field in fields.values()]
        self._has_categories = any(known is not None for known in self._categories)
        kinds = set(map(type, self._named))
        self.is_usable = not self._classifies or (len(kinds) == 1 and kinds <= set(_KINDS))
        """Whether it can be asked this way at all."""

    def answer(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """Answer as `tinymlops.training.answers.predict` does; None where that must return the answer or the error.

        Args:
            values: A value of its type, or None, for each feature of the signature, in order.
        """
        # A model is user code and may raise anything; asked again with a frame, the error names its features.
        try:
            table = self._table(values)
            with threads_for(1):
                probabilities = np.asarray(self._model.predict_proba(table)) if self._gives_probabilities else None
                row = None if probabilities is None else self._row(probabilities)
                found = self._decided(row)
                if found is None:
                    found = np.asarray(self._model.predict(table)).reshape(1).tolist()[0]
        except (Exception, pl.exceptions.PanicException):  # noqa: BLE001
            return None
        return self._read(found, row)

    def _table(self, values: Sequence[Any]) -> Any:
        if self._kind == "array" and not self._has_categories:
            return np.array([values], np.float64, order="F")  # None becomes NaN
        if self._has_categories:
            values = [
                value if known is None or value in known else None
                for value, known in zip(values, self._categories, strict=True)
            ]
        row = [values[place] for place in self._order]
        if (
            self._is_numbers and None not in row
        ):  # columns side by side, which become an array without a copy of each column
            frame = pl.from_numpy(np.array([row], order="F"), schema=self._names, orient="row")
        else:
            frame = pl.DataFrame([row], schema=self._schema, orient="row")
        return frame if self._kind == "polars" else table_of(frame, self._model, self._kind)

    def _row(self, probabilities: Any) -> list[float]:
        if probabilities.shape != (1, len(self._known)) or probabilities.dtype.kind != "f":
            raise ValueError("not a probability for each class")
        row: list[float] = probabilities[0].tolist()
        return row

    def _decided(self, row: list[float] | None) -> Any:
        if row is None or not self._once:
            return None
        place = decided_one(row)
        return None if place is None else self._known[place]

    def _read(self, found: Any, row: list[float] | None) -> dict[str, Any] | None:
        if not self._classifies:
            return {"prediction": _finite(found)} if isinstance(found, int | float) else None
        if type(found) not in (*_KINDS, float) or found not in self._named:
            return None
        answer: dict[str, Any] = {"prediction": self._named[found]}
        if row is not None:
            each = [0.0 if place is None else _finite(row[place]) for place in self._places]
            answer |= {"probability": each[-1]} if self._signature.task == "binary" else {"probabilities": each}
        return answer


def _dtype(field: FeatureField) -> pl.DataType:
    return pl.Enum(field.categories or []) if field.dtype == "Enum" else _DTYPES[field.dtype]


def _categories(field: FeatureField) -> frozenset[str] | None:
    return frozenset(field.categories or []) if field.dtype == "Enum" else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
