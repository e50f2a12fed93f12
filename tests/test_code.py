"""Users' functions: found again by module or by script from another process, and only if they are unchanged."""

import hashlib
import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

import tinymlops as tm
from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.code import find_function, import_modules, is_importable, reference_of, require_same
from tinymlops.features.definitions.specs import CodeReference

SCRIPT = """
from datetime import UTC, datetime

import polars as pl

import tinymlops as tm

project = tm.Project("shop")
customer = project.entity("customer", key="customer")


@project.source(timestamp="at")
def orders() -> pl.DataFrame:
    return pl.DataFrame({"customer": ["a", "b"], "at": [datetime(2024, 1, 1, tzinfo=UTC)] * 2, "amount": [1.0, 2.0]})


@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    return {"amount": orders["amount"].last()}


@project.on_demand
def rest(spending: tm.Inputs, discount: pl.Expr) -> dict[str, pl.Expr]:
    return {"rest": spending["amount"] * discount}


if __name__ == "__main__":
    with tm.connect("shop.tm", create=True) as ws:
        ws.apply(project)
        ws.ingest()
"""

READER = """
import json, sys
import tinymlops as tm

with tm.connect("shop.tm") as ws:
    try:
        answer = ws.get_online_features(["spending", "rest"], [{"customer": "b", "discount": 0.5}])
        print(json.dumps({"rest": answer.to_dict()["rest"], "main": sys.modules["__main__"].__file__}))
    except tm.TinyMLOpsError as error:
        print(json.dumps({"message": error.message, "hint": error.hint}))
"""


def run(directory, *arguments):
    """Run Python in a directory, as a user would; return what it printed."""
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def served(directory):
    """Return the answer of another process."""
    (directory / "reader.py").write_text(READER)
    return msgspec.json.decode(run(directory, "reader.py"))


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into a directory of its own, and import it as a project's."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = []

    def write(text, name):
        names.append(name)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return import_modules([name], tmp_path)[0]

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_script_that_ran_as_main_is_served_from_another_process(tmp_path):
    (tmp_path / "shop.py").write_text(SCRIPT)
    run(tmp_path, "shop.py")
    assert served(tmp_path)["rest"] == [1.0]


def test_a_module_is_served_from_another_process(tmp_path):
    (tmp_path / "shop.py").write_text(SCRIPT)
    (tmp_path / "train.py").write_text(
        "import shop, tinymlops as tm\n"
        "with tm.connect('shop.tm', create=True) as ws:\n    ws.apply(shop.project)\n    ws.ingest()\n"
    )
    run(tmp_path, "train.py")
    assert served(tmp_path)["rest"] == [1.0]


def test_code_that_changed_since_is_refused_until_it_is_applied_again(tmp_path):
    script = tmp_path / "shop.py"
    script.write_text(SCRIPT)
    run(tmp_path, "shop.py")
    script.write_text(SCRIPT.replace('spending["amount"] * discount', 'spending["amount"] * discount * 3'))
    assert served(tmp_path) == {
        "message": "the code of 'rest' has changed since it was applied",
        "hint": "apply the project again and restart; a model keeps to the code it was trained with",
    }
    run(tmp_path, "shop.py")
    assert served(tmp_path)["rest"] == [3.0]


def test_a_change_elsewhere_in_the_script_does_not_matter(tmp_path):
    script = tmp_path / "shop.py"
    script.write_text(SCRIPT)
    run(tmp_path, "shop.py")
    script.write_text("# A comment.\n" + SCRIPT.replace('"a", "b"', '"a", "b" '))
    assert served(tmp_path)["rest"] == [1.0]


def test_a_script_that_is_gone_is_named(tmp_path):
    (tmp_path / "shop.py").write_text(SCRIPT)
    run(tmp_path, "shop.py")
    (tmp_path / "shop.py").unlink()
    answer = served(tmp_path)
    assert answer["message"] == f"the script {tmp_path / 'shop.py'} is not there any more"
    assert answer["hint"] == "restore it, or apply the project again"


def test_a_function_typed_in_a_session_is_told_to_move(tmp_path):
    typed = SCRIPT.replace('if __name__ == "__main__":', "if True:")
    run(tmp_path, "-c", typed)
    answer = served(tmp_path)
    assert answer["message"] == (
        "the Python code of rest in a notebook cannot be imported: it lives only where it was typed"
    )
    assert answer["hint"] == "move rest to the top level of a module, such as features.py, and apply again"


def test_code_that_moved_from_a_session_to_a_module_is_found_there_after_apply(tmp_path):
    run(tmp_path, "-c", SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    (tmp_path / "shop.py").write_text(SCRIPT)
    run(tmp_path, "-c", "import shop, tinymlops as tm\nwith tm.connect('shop.tm') as ws: ws.apply(shop.project)")
    assert served(tmp_path)["rest"] == [1.0]


def test_the_same_code_in_another_place_is_applied_again_and_keeps_its_fingerprint(module, workspace):
    typed = module(SCRIPT, "shop_moved").project
    for name in ("orders", "rest"):
        noun = typed.definitions[name]
        code = msgspec.structs.replace(noun.spec.code, module="__main__", file=None)
        noun.spec = msgspec.structs.replace(noun.spec, code=code)
    workspace.apply(typed)
    before = {row.name: row.fingerprint for row in workspace.catalog.list()}
    moved = module(SCRIPT, "shop_moved").project
    changed = [change for change in workspace.apply(moved).changes if change.action == "describe"]
    assert [(change.name, change.detail) for change in changed] == [
        ("orders", "where its code is"),
        ("rest", "where its code is"),
    ]
    assert {row.name: row.fingerprint for row in workspace.catalog.list()} == before
    assert workspace.catalog.get("on_demand", "rest").spec["code"]["module"] == "shop_moved"
    assert not workspace.plan(moved)
    assert not workspace.plan(typed)  # and a notebook with the same code takes nothing away from the module


def test_a_script_that_is_imported_as_a_module_the_next_time_is_no_change(tmp_path):
    (tmp_path / "shop.py").write_text(SCRIPT)
    run(tmp_path, "shop.py")
    again = run(
        tmp_path, "-c", "import shop, tinymlops as tm\nwith tm.connect('shop.tm') as ws: print(ws.plan(shop.project))"
    )
    assert again.startswith("0 to apply")


def test_code_that_changed_since_is_not_run_to_find_that_out(tmp_path):
    script = tmp_path / "shop.py"
    script.write_text(SCRIPT)
    run(tmp_path, "shop.py")
    script.write_text("open('was_run', 'w')\n" + SCRIPT.replace("* discount", "* discount * 3"))
    assert "has changed since it was applied" in served(tmp_path)["message"]
    script.write_text("open('was_run', 'w')\n")
    assert served(tmp_path)["message"] == f"there is no rest in {script} any more"
    assert not (tmp_path / "was_run").exists()


# A catalog from a stranger


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A workspace without a suffix, so that its name could be a package's."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    with tm.connect(tmp_path / "given", create=True):
        pass
    return tmp_path / "given"


REST = "def rest():\n    return 1\n"


def planted(path, mark):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n\n\n{REST}")
    return path


def said(tmp_path, **place):
    """Look for a function whose digest is right, as the author of the catalog would make it."""
    digest = hashlib.sha256(REST.encode()).hexdigest()
    code = CodeReference(**{"module": "__main__", "name": "rest", "file": None, "digest": digest} | place)
    with pytest.raises(DefinitionError) as info:
        find_function(code, tmp_path)
    return info.value.message


def test_a_script_inside_a_workspace_is_never_run(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "was_run"
    evil = planted(given / "blobs" / "evil.py", mark)
    (tmp_path / "link.py").symlink_to(evil)
    for file in (evil, tmp_path / "link.py", "given/blobs/evil.py", given / "tmp" / ".." / "blobs" / "evil.py"):
        assert f"is inside {given}, which holds data" in said(tmp_path, file=str(file))
    planted(tmp_path / "beside.py", mark)
    assert "is not an absolute path" in said(tmp_path, file="beside.py")
    assert not mark.exists()


def test_a_module_inside_a_workspace_is_never_imported(given, tmp_path, monkeypatch):
    mark = tmp_path / "was_run"
    planted(given / "evil.py", mark)
    planted(given / "blobs" / "__init__.py", mark)
    planted(given / "blobs" / "inner.py", mark)
    for name in ("given.evil", "given.blobs", "given.blobs.inner"):
        assert "which holds data" in said(tmp_path, module=name)
    monkeypatch.syspath_prepend(str(given))
    assert "which holds data" in said(tmp_path, module="evil")
    assert not mark.exists()
    assert not {name for name in sys.modules if name == "evil" or name.startswith("given")}


def test_a_module_is_imported_only_if_it_holds_the_function_that_was_applied(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    mark = tmp_path / "was_run"
    planted(tmp_path / "shop_package" / "__init__.py", mark)
    planted(tmp_path / "shop_package" / "code.py", mark)
    assert "has changed since" in said(tmp_path, module="shop_package.code", digest="0" * 64)
    assert "there is no shop_package.code.other any more" in said(tmp_path, module="shop_package.code", name="other")
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    [
        REST,
        "class rest:\n    pass\n\n\n" + REST,
        "if True:\n    def rest():\n        return 1\n",
        "try:\n    import nothing_of_that_name\nexcept ImportError:\n    def rest():\n        return 1\n",
        'x = """\x0c\u2028"""\n' + REST + "y = 1",
        "def rest():\n    return 2\n\n\n" + REST,
        "# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n" + REST,
        REST.rstrip("\n"),
        REST.replace("\n", "\r\n"),
    ],
    ids=["plain", "class", "if", "try", "separators", "twice", "latin", "unended", "windows"],
)
def test_the_same_function_is_found_however_its_file_is_written(tmp_path, monkeypatch, text, request):
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "shop_written_" + request.node.callspec.id
    (tmp_path / f"{name}.py").write_bytes(text.encode("latin-1" if "latin" in text else "utf-8"))
    before = reference_of(import_modules([name], tmp_path)[0].rest)
    del sys.modules[name]
    try:
        assert find_function(before, tmp_path)() == 1
    finally:
        sys.modules.pop(name, None)


DECORATED = """
import functools


def same(function):
    @functools.wraps(function)
    def inner():
        return function()

    return inner


@same
@same
def rest():
    return 1


async def later():
    return 2


class Group:
    @staticmethod
    def inner():
        return 3
"""


def test_decorated_and_asynchronous_functions_are_found_with_their_decorators(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shop_decorated.py").write_text(DECORATED)
    module = import_modules(["shop_decorated"], tmp_path)[0]
    try:
        for function in (module.rest, module.later, module.Group.inner):
            code = reference_of(function)
            del sys.modules["shop_decorated"]
            assert find_function(code, tmp_path) is not function
    finally:
        sys.modules.pop("shop_decorated", None)


# In one process


def test_a_function_of_a_module_is_found_as_the_noun_that_wraps_it_or_as_itself(module, tmp_path):
    found = module(SCRIPT + "\n\nclass Group:\n    def inner() -> int:\n        return 1\n", "shop_found")
    for function in (found.rest.function, found.Group.inner):
        assert find_function(reference_of(function), tmp_path) is function
    assert reference_of(found.rest.function).file == str(tmp_path / "shop_found.py")


def test_a_function_that_is_no_longer_in_its_module_is_named(module, tmp_path):
    code = reference_of(module(SCRIPT, "shop_gone").rest.function)
    module(SCRIPT.replace("def rest(", "def remainder("), "shop_gone")
    with pytest.raises(DefinitionError, match=r"there is no shop_gone\.rest any more\nHint: restore it, or apply"):
        find_function(code, tmp_path)


def test_a_reloaded_function_is_read_anew(module):
    text = "def f():\n    return {}\n"
    before = reference_of(module(text.format(1), "shop_reloaded").f)
    after = module(text.format(23), "shop_reloaded").f
    with pytest.raises(DefinitionError, match="the code of 'f' has changed since it was applied"):
        require_same(after, before)


def test_indentation_and_place_are_no_part_of_the_code(module):
    flat = module("def f():\n    return 1\n", "shop_flat").f
    nested = module("class A:\n    pass\n\n\nif True:\n    def f():\n        return 1\n", "shop_nested").f
    assert reference_of(flat).digest == reference_of(nested).digest


def test_a_function_without_source_is_told_from_another(module):
    made = {}
    exec("def f():\n    return 1\ndef g():\n    return 2", made)
    assert reference_of(made["f"]).digest != reference_of(made["g"]).digest


@pytest.mark.parametrize(
    ("place", "importable"),
    [
        ({"module": "features", "name": "rest", "file": "/x/features.py"}, True),
        ({"module": "__main__", "name": "rest", "file": "/x/script.py"}, True),
        ({"module": "__main__", "name": "rest", "file": None}, False),
        ({"module": "features", "name": "make.<locals>.rest", "file": "/x/features.py"}, False),
        ({"module": "features", "name": "<lambda>", "file": "/x/features.py"}, False),
    ],
)
def test_what_another_process_can_find(place, importable):
    assert is_importable(tm.features.definitions.specs.CodeReference(**place, digest="")) is importable


def test_a_module_that_cannot_be_imported_is_named_with_where_it_is_looked_for(module, tmp_path):
    with pytest.raises(DefinitionError, match="module 'shop_nowhere' of the project cannot be imported") as info:
        import_modules(["shop_nowhere"], tmp_path)
    assert info.value.hint == (
        f"it is looked for in {tmp_path} and in the environment; tinymlops.toml lists it in modules"
    )


@pytest.mark.parametrize("text", ["raise ValueError('no data')", "1 +", "import shop_absent_dependency"])
def test_a_module_that_fails_is_named_with_its_error(module, text):
    with pytest.raises(DefinitionError, match="module 'shop_failing' of the project cannot be imported: ") as info:
        module(text, "shop_failing")
    assert info.value.__cause__ is not None
    assert "shop_failing" not in sys.modules


def test_a_script_that_fails_when_it_is_found_again_is_named_and_not_kept(tmp_path):
    script = tmp_path / "shop.py"
    script.write_text(SCRIPT)
    run(tmp_path, "shop.py")
    script.write_text(SCRIPT + "\nraise RuntimeError('no data')")
    answer = served(tmp_path)
    assert answer["message"] == f"the script {script} cannot be run to find its functions: no data"


def test_modules_are_imported_once_and_in_order(module, tmp_path):
    module("order = []\n", "shop_base")
    for name in ("shop_first", "shop_second"):
        (tmp_path / f"{name}.py").write_text(f"import shop_base\nshop_base.order.append({name!r})\n")
    try:
        for _ in range(2):
            import_modules(["shop_first", "shop_second"], tmp_path)
        assert sys.modules["shop_base"].order == ["shop_first", "shop_second"]
        assert Path(sys.path[0]) == tmp_path
    finally:
        for name in ("shop_first", "shop_second"):
            sys.modules.pop(name, None)
