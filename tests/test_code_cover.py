"""The digest of Python code: what it covers, what it does not, and that it is the same wherever it is taken."""

import importlib
import io
import json
import operator
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import tinymlops as tm
from tinymlops.features.definitions.code import find_function, reference_of, settled, with_cover
from tinymlops.features.definitions.code_cover import cover
from tinymlops.features.definitions.specs import OnDemandSpec

ROOT = """
import functools
import json
import operator
from decimal import Decimal

import numpy as np
import polars as pl

import cover_helpers
from cover_helpers import LIMIT, Shape, clean as tidy
from cover_helpers import *

FACTOR = 2
NAMES = {"b", "a"}
half = functools.partial(cover_helpers.scaled, by=0.5)
pick = lambda value: value + cover_helpers.OFFSET


def call_global(x):
    return tidy(x)


def call_attribute(x):
    return cover_helpers.clean(x)


def call_constant(x):
    return x * LIMIT if x else FACTOR


def call_class(x):
    return Shape(x).area()


def call_partial(x):
    return half(x)


def call_lambda(x):
    return pick(x)


def call_decorated(x):
    return cover_helpers.traced(x)


def call_default(x, by=cover_helpers.OFFSET):
    return x + by


def call_star(x):
    return starred(x)


def call_inside(x):
    from cover_helpers import late

    return late(x)


def call_table(x):
    return cover_helpers.TABLE[x](x)


def call_dispatched(x):
    return cover_helpers.shown(x)


def call_itself(x):
    return call_itself(x - 1) if x else cover_helpers.even(x)


def call_nothing(x):
    return np.abs(x)


def make(factor):
    def inner(x):
        return x * factor

    return inner


triple = make(3)


def call_made(x):
    return triple(x)
"""

HELPERS = """
import functools

LIMIT = 10
OFFSET = 1.5


def clean(x):
    return base(x)


def base(x):
    return x + 1


def scaled(x, by):
    return x * by


class Solid:
    depth = 2

    def area(self):
        return self.side * self.depth


class Shape(Solid):
    def __init__(self, side):
        self.side = side


def trace(function):
    @functools.wraps(function)
    def inner(x):
        return function(x) + 0

    return inner


@trace
def traced(x):
    return x - 1


def starred(x):
    return x * 5


def late(x):
    return x * 6


def one(x):
    return x * 7


TABLE = {"one": one}


@functools.singledispatch
def shown(x):
    return str(x)


@shown.register
def _(x: int):
    return "int"


def even(x):
    return x == 0 or odd(x - 1)


def odd(x):
    return x != 0 and even(x - 1)
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write modules into a directory and import the last one anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = set()

    def write(**texts):
        for name in texts:
            names.add(name)
            sys.modules.pop(name, None)
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return importlib.import_module(list(texts)[-1])

    yield write
    for name in names:
        sys.modules.pop(name, None)


def wholes(module):
    return {name: cover(one).whole for name, one in vars(module).items() if name.startswith("call_")}


CHANGES = {
    "return x + 1": {"global", "attribute"},
    "LIMIT = 10": {"constant"},
    "OFFSET = 1.5": {"lambda", "default"},
    "return x * by": {"partial"},
    "depth = 2": {"class"},
    "return function(x) + 0": {"decorated"},
    "return x - 1": {"decorated"},
    "return x * 5": {"star"},
    "return x * 6": {"inside"},
    "return x * 7": {"table"},
    "return x != 0 and even(x - 1)": {"itself"},
    'return "int"': {"dispatched"},
}


@pytest.mark.parametrize("changed", CHANGES)
def test_a_change_of_what_a_function_reaches_is_a_change_and_no_other_is(modules, changed):
    before = wholes(modules(cover_helpers=HELPERS, cover_root=ROOT))
    assert changed in HELPERS
    after = wholes(modules(cover_helpers=HELPERS.replace(changed, changed + " + 100"), cover_root=ROOT))
    found = {name.removeprefix("call_") for name in before if before[name] != after[name]}
    assert found == CHANGES[changed]


@pytest.mark.parametrize(
    ("before", "after", "reached"),
    [
        ("FACTOR = 2", "FACTOR = 3", "constant"),
        ("x * factor", "x * factor * 2", "made"),
        ("make(3)", "make(4)", "made"),
    ],
)
def test_a_change_in_the_module_itself_is_found(modules, before, after, reached):
    first = wholes(modules(cover_helpers=HELPERS, cover_root=ROOT))
    second = wholes(modules(cover_helpers=HELPERS, cover_root=ROOT.replace(before, after)))
    assert {name for name in first if first[name] != second[name]} == {f"call_{reached}"}


@pytest.mark.parametrize(
    "body",
    [
        "import cover_late as q\n    return q.h(x)",
        "from cover_late import h as q\n    return q(x)",
        "import cover_late as q\n    def inner():\n        return q.h(x)\n    return inner()",
        "def inner():\n        import cover_late as q\n        return q.h(x)\n    return inner()",
    ],
)
def test_a_module_that_a_function_imports_itself_is_followed_by_any_name(modules, body):
    helper, root = "def h(x):\n    return x + 1\n", f"def f(x):\n    {body}\n"
    before = cover(modules(cover_late=helper, cover_asks=root).f)
    after = cover(modules(cover_late=helper.replace("1", "2"), cover_asks=root).f)
    assert "cover_late.h" in before.parts
    assert before.whole != after.whole


@pytest.mark.parametrize("how", ["cover_class.Taxi.fare = fare", "setattr(cover_class.Taxi, 'fare', fare)"])
def test_a_method_that_another_module_puts_into_a_class_is_part_of_the_class(modules, how):
    shape = "class Taxi:\n    def fare(self, x):\n        return x\n"
    patch = f"import cover_class\ndef fare(self, x):\n    return x + 1\n{how}\n"
    root = "import cover_patch\nfrom cover_class import Taxi\ndef f(x):\n    return Taxi().fare(x)\n"
    before = cover(modules(cover_class=shape, cover_patch=patch, cover_rides=root).f)
    after = cover(modules(cover_class=shape, cover_patch=patch.replace("1", "2"), cover_rides=root).f)
    assert before.whole != after.whole


@pytest.mark.parametrize("how", ["setattr(Taxi, 'fare', 1)", "Taxi.table.sort(key=lambda x: 1 * x)"])
def test_a_statement_that_changes_a_value_of_the_module_is_part_of_it(modules, how):
    helper = f"class Taxi:\n    table = [2, 1]\n{how}\n"
    root = "from cover_changes import Taxi\ndef f(x):\n    return Taxi.fare, Taxi.table\n"
    before = cover(modules(cover_changes=helper, cover_drives=root).f)
    after = cover(modules(cover_changes=helper.replace(how, how.replace("1", "-1")), cover_drives=root).f)
    assert before.whole != after.whole


def test_layout_comments_docstrings_and_places_do_not_matter(modules):
    first = wholes(modules(cover_helpers=HELPERS, cover_root=ROOT))
    helpers = "# A comment.\n\n\n" + HELPERS.replace("def clean(x):", 'def clean(x):\n    """Clean."""  # well')
    helpers = helpers.replace("return x + 1", "return (x\n        + 1)")
    root = ROOT.replace("\n\n\n", "\n\n\n\n").replace("tidy(x)", "tidy( x )")
    assert wholes(modules(cover_helpers=helpers, cover_root=root)) == first


def test_the_digest_is_the_same_in_every_process_whatever_its_hash_seed(modules, tmp_path):
    root = ROOT + "\n\ndef call_sets(x):\n    return x in {'a', 'b', 'c'} or x in NAMES\n"
    here = wholes(modules(cover_helpers=HELPERS, cover_root=root))
    script = (
        "import json, cover_root\nfrom tinymlops.features.definitions.code_cover import cover\n"
        "print(json.dumps({n: cover(f).whole for n, f in vars(cover_root).items() if n.startswith('call_')}))"
    )
    for seed in ("1", "2"):
        places = os.pathsep.join([str(tmp_path), *sys.path])
        told = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": places},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(told.stdout) == here


def test_closures_that_differ_are_told_apart_and_an_order_of_sets_is_not(modules):
    made = modules(
        cover_made="""
        import re
        def make(held, by=1):
            def inner(x, by=by):
                return x, held
            return inner
        """
    ).make
    values = [
        1,
        True,
        1.0,
        "1",
        b"1",
        None,
        (1,),
        [1],
        {1},
        {"a": 1},
        {"a": 2},
        re_of("a"),
        re_of("b"),
        made(1),
        made(2),
    ]
    wholes = [cover(made(value)).whole for value in values]
    assert len({*wholes, cover(made(1, by=2)).whole}) == len(values) + 1
    assert cover(made({"a", "b", "c"})).whole == cover(made({"c", "b", "a"})).whole
    for odd in (
        len,
        [].append,
        "a".join,
        operator.itemgetter("a"),
        np.abs,
        np.random.default_rng(1),
        int,
        print,
        io.StringIO(),
    ):
        assert cover(made(odd)).whole == cover(made(odd)).whole
    assert cover(made(len)).whole != cover(made(sum)).whole
    circle = []
    circle.append(circle)
    assert cover(made(circle)).whole == cover(made(circle)).whole


def re_of(text):
    import re

    return re.compile(text)


UNSEEN = """
import os, pickle
from pathlib import Path

import polars as pl

CACHE = {}
HOME = os.environ.get("HOME")


def by_name(x, name):
    return getattr(x, name)(1)


def evaluated(x):
    return eval("x + 1")


def reads():
    return pl.read_csv("rates.csv"), open("a.txt").read()


def remembers(x):
    if x not in CACHE:
        CACHE[x] = x + 1
    return CACHE[x]


def at_home():
    return HOME


def hands_on(run):
    import cover_unseen

    return run(cover_unseen)


def make(value):
    def inner():
        return value

    return inner


opened = make(pl.DataFrame({"a": [1]}))
"""


def test_what_is_not_seen_is_listed(modules):
    module = modules(cover_unseen=UNSEEN)
    said = {name: list(cover(one).unseen) for name, one in vars(module).items() if callable(one) and name != "Path"}
    assert said["by_name"] == ["by_name: a name that getattr is given as it runs"]
    assert said["evaluated"] == ["evaluated: code or names that eval makes as it runs"]
    assert said["reads"] == ["reads: what pl.read_csv reads", "reads: what open reads"]
    assert said["remembers"] == ["CACHE: a value that functions change"]
    assert said["at_home"] == ["HOME: the environment of the process"]
    assert said["hands_on"] == ["cover_unseen: a module that is handed on as a value"]
    assert [one.partition(" of ")[2].rpartition(".")[2] for one in said["opened"]] == ["DataFrame"]
    before = cover(module.remembers).whole
    module.remembers(3)
    assert cover(module.remembers, anew=True).whole == before


def test_a_class_whose_module_is_a_property_is_no_obstacle(modules):
    module = modules(
        cover_odd="""
class Odd:
    __module__ = property(lambda self: "mine")

ODD = Odd()

def reads():
    return ODD
"""
    )
    assert cover(module.reads).whole


def test_packages_are_listed_and_no_part_of_the_digest(modules, monkeypatch):
    from tinymlops.features.definitions import code_places

    text = "import polars as pl\ndef f():\n    return pl.col('a').cast(pl.Float64)\n"
    first = cover(modules(cover_packages=text).f)
    assert list(first.packages) == ["polars"]
    code_places.package_of.cache_clear()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    second = cover(modules(cover_packages=text).f)
    code_places.package_of.cache_clear()
    assert (second.packages, second.whole) == ({"polars": "99.0"}, first.whole)


def test_a_function_without_text_is_told_from_another_and_listed():
    made = {"__name__": "__main__"}
    exec(
        "def f(x):\n    return g(x)\ndef g(x):\n    return x in {'a', 'b'}\ndef h(x):\n    return x in {'a', 'c'}", made
    )
    assert cover(made["g"]).whole != cover(made["h"]).whole
    assert cover(made["f"]).unseen == ("f: no source text", "g: no source text")
    before = cover(made["f"]).whole
    made["g"] = made["h"]
    assert cover(made["f"]).whole != before


def test_a_file_that_was_edited_after_it_was_loaded_is_not_taken_for_what_runs(modules, tmp_path):
    module = modules(
        cover_helpers=HELPERS, cover_edited="import cover_helpers\ndef f(x):\n    return cover_helpers.base(x)\n"
    )
    before = (tmp_path / "cover_helpers.py").read_text()
    (tmp_path / "cover_helpers.py").write_text(before.replace("x + 1", "x + 123456"))
    stale = cover(module.f)
    assert stale.unseen == ("cover_helpers.base: its file is not what was loaded",)
    importlib.reload(sys.modules["cover_helpers"])
    fresh = cover(module.f)
    assert fresh.unseen == ()
    assert fresh.whole != stale.whole


def test_a_constant_of_a_module_that_is_loaded_again_is_read_again(modules, tmp_path):
    module = modules(
        cover_helpers=HELPERS, cover_again="import cover_helpers\ndef f(x):\n    return cover_helpers.LIMIT\n"
    )
    before = cover(module.f).whole
    (tmp_path / "cover_helpers.py").write_text(HELPERS.replace("LIMIT = 10", "LIMIT = 11"))
    importlib.reload(sys.modules["cover_helpers"])
    assert cover(module.f).whole != before


def test_relative_imports_and_packages_are_followed(tmp_path, modules):
    package = tmp_path / "cover_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("def clean(x):\n    return x\n")
    (package / "views.py").write_text(
        "from . import inner\nfrom .inner import clean\ndef f(x):\n    return inner.clean(clean(x))\n"
    )
    try:
        found = cover(importlib.import_module("cover_package.views").f)
    finally:
        for name in [one for one in sys.modules if one.startswith("cover_package")]:
            del sys.modules[name]
    assert list(found.parts) == ["f", "cover_package.inner.clean"]


# In a workspace


def test_a_function_that_names_no_module_is_applied_and_said_to_live_where_it_was_typed(tmp_path):
    made = {"tm": tm}
    exec(
        "import polars as pl\nproject = tm.Project('shop')\n@project.source(timestamp='at')\n"
        "def orders() -> pl.DataFrame:\n    return pl.DataFrame({'at': []})",
        made,
    )
    assert made["orders"].function.__module__ is None
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(made["project"])
        spec = ws.catalog.get("source", "orders").spec
        assert (spec["code"]["module"], spec["code"]["file"]) == ("__main__", None)
    with (
        tm.connect(tmp_path / "shop.tm") as ws,
        pytest.raises(tm.TinyMLOpsError, match="lives only where it was typed"),
    ):
        ws.ingest()


TWO = """
import polars as pl
import tinymlops as tm
project = tm.Project({project!r})
customer = project.entity("customer_{project}", key="customer")
@project.source(timestamp="at")
def {source}() -> pl.DataFrame:
    return pl.DataFrame({{"customer": ["a"], "at": ["2024-01-01T00:00:00Z"], "amount": [2.0]}}).with_columns(
        pl.col("at").str.to_datetime(time_zone="UTC"))
@project.feature_view(entity=customer)
def {view}({source}: tm.Rows) -> tm.Features:
    return {{"{view}_amount": {source}["amount"].last()}}
@project.on_demand
def {name}({view}: tm.Inputs) -> dict[str, pl.Expr]:
    return {{"{name}_{project}": {view}["{view}_amount"] * {by}}}
"""


def features_of(directory, modules, **names):
    """Write a project's features.py into a directory of its own and import it."""
    directory.mkdir()
    (directory / "features.py").write_text(TWO.format(**names))
    sys.modules.pop("features", None)
    sys.path.insert(0, str(directory))
    try:
        return importlib.import_module("features").project
    finally:
        sys.path.remove(str(directory))
        importlib.invalidate_caches()


@pytest.fixture
def two(tmp_path, modules):
    one = features_of(tmp_path / "one", modules, project="one", source="rate", view="first", name="rest", by=3)
    other = features_of(tmp_path / "two", modules, project="two", source="rows", view="second", name="rate", by=5)
    yield one, other
    sys.modules.pop("features", None)
    for name in [name for name in sys.modules if name.startswith("_tinymlops_script_")]:
        del sys.modules[name]


def test_two_projects_may_have_functions_of_one_name(two, tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        for project in two:
            ws.apply(project)
        ws.ingest()
        ws.materialize()
        found = ws.get_online_features(["second", "rate"], [{"customer": "a"}]).to_dict()
        assert found["rate_two"] == [10.0]


def test_two_projects_may_have_modules_of_one_name(two, tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        for project in two:
            ws.apply(project)
        ws.ingest()
        ws.materialize()
    for _ in range(2):  # with the other project's module loaded, then with none
        with tm.connect(tmp_path / "shop.tm") as ws:
            assert ws.get_online_features(["first", "rest"], [{"customer": "a"}]).to_dict()["rest_one"] == [6.0]
            assert ws.get_online_features(["second", "rate"], [{"customer": "a"}]).to_dict()["rate_two"] == [10.0]
        sys.modules.pop("features", None)


def test_code_that_is_the_same_keeps_the_digest_of_any_version(modules):
    module = modules(cover_helpers=HELPERS, cover_root=ROOT)
    plain = OnDemandSpec(name="f", views=(), request=(), uses_timestamp=False, code=reference_of(module.call_global))
    now = with_cover(plain, module.call_global)
    assert settled(now, []).code.digest == now.code.covers.whole
    assert settled(now, [plain]).code.digest == plain.code.digest  # of before digests covered more
    changed = modules(cover_helpers=HELPERS.replace("x + 1", "x + 2"), cover_root=ROOT)
    other = with_cover(plain, changed.call_global)
    adopted = settled(now, [plain])
    assert settled(other, [adopted]).code.digest == other.code.covers.whole
    assert settled(now, [settled(other, []), adopted]).code.digest == plain.code.digest


def test_a_helper_that_changed_is_named_when_the_function_is_found_again(modules, tmp_path):
    module = modules(cover_helpers=HELPERS, cover_root=ROOT)
    plain = OnDemandSpec(name="f", views=(), request=(), uses_timestamp=False, code=reference_of(module.call_global))
    code = settled(with_cover(plain, module.call_global), []).code
    assert find_function(code, tmp_path) is module.call_global
    modules(cover_helpers=HELPERS.replace("x + 1", "x + 2"), cover_root=ROOT)
    with pytest.raises(
        tm.errors.DefinitionError, match="'call_global' has changed since it was applied, in cover_helpers.base"
    ):
        find_function(code, tmp_path)
