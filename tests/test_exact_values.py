"""Pushed values are stored exactly, or refused with their column and rows: no digit, bit or offset is dropped."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.errors import DataError

T = datetime(2024, 5, 1, tzinfo=UTC)
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
WIDE = Decimal("12345678901234567890123456789012345.678")
NANOS = pl.Datetime("ns", "UTC")


def project_of(dtype, **options):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", **options)
    def readings() -> tm.Schema:
        return {"customer": int, "at": datetime, "value": dtype}

    @project.feature_view(entity=customer)
    def newest(readings: tm.Rows) -> tm.Features:
        return {"value": readings["value"].last()}

    return project


def pushed(tmp_path, dtype, values, **options):
    """Push values, and return them as they come back; a series is pushed in a frame, a list as dicts."""
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(project_of(dtype, **options))
        if isinstance(values, pl.Series):
            rows = pl.DataFrame({"customer": range(len(values)), "at": [T] * len(values), "value": values})
        else:
            rows = [{"customer": i, "at": T, "value": value} for i, value in enumerate(values)]
        ws.push("readings", rows)
        spine = pl.DataFrame({"customer": range(len(values)), "timestamp": [datetime.now(UTC)] * len(values)})
        got = ws.get_historical_features(spine, ["newest"])["value"]
        return (got.to_physical() if got.dtype.is_temporal() else got).to_list()


EXACT = [
    (pl.Decimal(10, 2), [Decimal("1.5"), Decimal("1.500"), "99999999.99", "1e7", 3, "-0", "0e-400", None],
     [Decimal("1.50")] * 2 + [Decimal("99999999.99"), 10**7, 3, 0, 0, None]),
    (pl.Decimal(38, 3), [WIDE], [WIDE]),
    (pl.Decimal(10, 2), pl.Series(["2.5000", None]).cast(pl.Decimal(20, 4)), [Decimal("2.50"), None]),
    (pl.Float32, [1, 2**24, 0.5, 1.5, None], [1.0, 2.0**24, 0.5, 1.5, None]),
    (pl.Time, ["01:02:03.000001", time(1, 2, 3), None], [3723000001000, 3723000000000, None]),
    (pl.Duration("ms"), [timedelta(seconds=1.5), None], [1500, None]),
    (pl.Duration("us"), pl.Series([1500_000, None]).cast(pl.Duration("ns")), [1500, None]),
    (NANOS, ["2024-05-01T00:00:00.123456789Z", "2024-05-01T02:00:00+02:00"], [1714521600123456789, 1714521600000000000]),
    (pl.Datetime("us"), [datetime(2024, 5, 1)], [1714521600000000]),
    (pl.List(float), [[1, 2.5, None], [], None], [[1.0, 2.5, None], [], None]),
    (pl.List(int), [[1, 2.0], [2**63 - 1]], [[1, 2], [2**63 - 1]]),
    (pl.List(pl.List(pl.Int8)), [[[1], []], [None, [2]], None], [[[1], []], [None, [2]], None]),
    (pl.List(pl.Decimal(10, 2)), [["1.5", 2]], [[Decimal("1.50"), 2]]),
    (pl.List(str), pl.Series([["a"], None]).cast(pl.List(pl.Categorical)), [["a"], None]),
    (datetime, [FIRST, LAST], [-62135596800000000, 253402300799999999]),
    (date, ["0001-01-01", date(9999, 12, 31)], [-719162, 2932896]),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "values", "stored"), EXACT, ids=[str(case[0]) for case in EXACT])
def test_a_value_that_the_type_can_hold_comes_back_as_it_was(tmp_path, dtype, values, stored):
    assert pushed(tmp_path, dtype, values) == stored


REFUSED = [
    (pl.Decimal(10, 2), Decimal("1.505")),
    (pl.Decimal(10, 2), "100000000"),
    (pl.Decimal(10, 2), "NaN"),
    (pl.Decimal(10, 2), "-Infinity"),
    (pl.Decimal(10, 2), "1e-400"),
    (pl.Decimal(10, 2), "1e40"),
    (pl.Decimal(10, 2), 1.5),
    (pl.Decimal(10, 2), True),
    (pl.Float32, 2**24 + 1),
    (pl.Float32, 1e40),
    (pl.Time, "01:02:03+05:00"),
    (pl.Time, time(1, tzinfo=UTC)),
    (pl.Time, "01:02:03.0000005"),
    (pl.Duration("ms"), timedelta(microseconds=1500)),
    (pl.Duration("ns"), timedelta(days=200_000)),
    (datetime, "2024-05-01T00:00:00.0000005Z"),
    (pl.Datetime("ms", "UTC"), T + timedelta(microseconds=1)),
    (NANOS, "9999-12-31T00:00:00Z"),
    (NANOS, "1677-01-01T00:00:00Z"),
    (pl.Datetime("us"), T),
    (datetime, "0001-01-01T00:00:00+14:00"),
    (datetime, "9999-12-31T23:59:59-14:00"),
    (pl.Datetime("us", "Europe/Vienna"), LAST),
    (pl.List(float), [0.5, 2**53 + 1]),
    (pl.List(float), [float("inf")]),
    (pl.List(int), [True]),
    (pl.List(int), (1, 2)),
    (pl.List(datetime), ["9999-12-31T23:59:59-14:00"]),
    (pl.Enum(["a"]), "b"),
    (int, 1e300),
]


@pytest.mark.parametrize(("dtype", "value"), REFUSED, ids=[f"{dtype} {value!r}" for dtype, value in REFUSED])
def test_a_value_that_the_type_cannot_hold_is_refused_with_its_row(tmp_path, dtype, value):
    with pytest.raises(DataError, match=r"column 'value' of source 'readings' .* in rows \[1\]\nHint: ."):
        pushed(tmp_path, dtype, [None, value])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (pl.Decimal(10, 2), pl.Series(["2.505"]).cast(pl.Decimal(20, 4))),
        (datetime, pl.Series([1]).cast(NANOS)),
        (pl.Datetime("us"), pl.Series([1]).cast(pl.Datetime("ns"))),
        (datetime, pl.Series([2**62]).cast(pl.Datetime("ms", "UTC"))),
        (datetime, pl.Series([2**62]).cast(pl.Datetime("us", "UTC"))),
        (datetime, pl.Series([2**63 - 1]).cast(pl.Datetime("us", "UTC"))),
        (pl.Duration("ms"), pl.Series([1500]).cast(pl.Duration("us"))),
        (pl.List(float), pl.Series([[2**53 + 1]])),
        (pl.List(int), pl.Series([[True]])),
        (pl.List(pl.Duration("us")), pl.Series([[1500]]).cast(pl.List(pl.Duration("ns")))),
        (date, pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date)),
    ],
)
def test_a_column_of_a_frame_is_as_exact_as_a_dict(tmp_path, dtype, values):
    with pytest.raises(DataError, match=r"column 'value' of source 'readings' .* in rows \[0\]"):
        pushed(tmp_path, dtype, values)


@given(micros=st.integers(-62135596800000000, 253402300799999000), as_frame=st.booleans())
def test_an_event_time_finer_than_its_column_is_the_next_one(micros, as_frame):
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.intake.accepting import accepted

    source = SourceSpec(name="s", via="push", timestamp="at", columns={"at": "Datetime[ms, UTC]"})
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    rows = pl.DataFrame({"at": [moment]}) if as_frame else [{"at": moment}]
    assert accepted(rows, source, ()).to_series().to_physical().to_list() == [-(-micros // 1000)]


@given(st.decimals(allow_nan=True, allow_infinity=True), st.integers(0, 38), st.integers(0, 38))
def test_a_decimal_is_what_it_was_or_is_refused(number, precision, scale):
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.intake.accepting import accepted

    precision, scale = max(precision, scale, 1), scale
    source = SourceSpec(name="s", via="push", timestamp=None, columns={"value": f"Decimal[{precision}, {scale}]"})
    digits = [*number.as_tuple().digits] if number.is_finite() else []
    fits = number.is_finite() and (
        not number or (number.adjusted() < precision - scale and number == round_down(number, scale, digits))
    )
    try:
        (got,) = accepted([{"value": number}], source, ()).to_series().to_list()
    except DataError:
        assert not fits
    else:
        assert fits
        assert got == number


def round_down(number, scale, digits):
    """Truncate a decimal after a number of digits, without the rounding of a context."""
    sign, _, exponent = number.as_tuple()
    cut = max(-exponent - scale, 0)
    kept = digits[: max(len(digits) - cut, 0)] or [0]
    return Decimal((sign, kept, exponent + cut if cut else exponent))


def test_text_that_looks_like_a_number_stays_text(tmp_path):
    assert pushed(tmp_path, str, ["007", "1e5", "NaN", "null", "2024-01-01"]) == [
        "007",
        "1e5",
        "NaN",
        "null",
        "2024-01-01",
    ]
