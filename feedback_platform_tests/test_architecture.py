"""The shape of the package: who imports whom, what pure code may not touch, and how large a file may grow.

Read from the syntax trees, so an import inside a function or under TYPE_CHECKING counts like any other.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import feedback_platform

PACKAGE = Path(feedback_platform.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60

# Layer -> the layers it may import; its own modules, `errors` and `settings` always. Siblings (engines and
# lake, the edges among themselves) do not know one another.
CORE = {"contracts", "stages", "engines", "lake", "compile"}
EDGES = {"intake", "live", "review", "publish", "report"}
MAY_IMPORT = {
    "errors": set(),
    "settings": set(),
    "contracts": set(),
    "stages": {"contracts"},
    "engines": {"contracts", "stages"},
    "lake": {"contracts", "stages"},
    "compile": CORE,
    **dict.fromkeys(EDGES, CORE),
    "client": set(),
    "outputs": CORE | EDGES,
    "api": CORE | EDGES,
    "components": CORE | EDGES | {"outputs"},
    "defs": CORE | EDGES | {"components", "outputs"},
    "definitions": CORE | EDGES | {"components", "defs", "outputs"},
    "cli": CORE | EDGES | {"api", "client", "components", "defs", "definitions", "outputs"},
    "": CORE | EDGES,  # feedback_platform/__init__.py, and only inside functions
}
DAGSTER_LAYERS = {"components", "defs", "definitions"}

PURE_LAYERS = ("contracts", "stages")
IMPURE_MODULES = frozenset(
    "time random secrets uuid os io socket ssl http urllib requests shutil tempfile glob subprocess "
    "threading multiprocessing asyncio sqlite3 apsw duckdb deltalake dagster".split()
)
IMPURE_NAMES = frozenset(
    "now utcnow today default_rng rvs sample shuffle open read_text read_bytes write_text write_bytes "
    "read_parquet read_csv read_json read_ndjson read_ipc read_delta read_database scan_parquet scan_csv "
    "scan_ndjson scan_ipc scan_delta sink_parquet sink_csv write_parquet write_csv write_json "
    "write_ndjson".split()
)


@functools.cache
def tree(path: Path) -> ast.Module:
    """The same nodes at each call, so that they can be compared."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def shown(path: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if isinstance(node, ast.stmt | ast.expr) else ""
    return f"{path.relative_to(PACKAGE)}{line}"


def layer(path: Path) -> str:
    """The folder below the package, or the module's name; "" for the package's own __init__."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Each import statement with each full dotted name it brings in."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def own_layer(name: str) -> str | None:
    """The layer that an imported name lies in; None if it is not ours."""
    parts = name.split(".")
    if parts[0] != "feedback_platform":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else ""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def top_level(path: Path) -> set[ast.stmt]:
    """Import statements that run when the module is imported."""
    inside = {n for f in functions(path) for n in ast.walk(f)}
    return {node for node, _ in imports(path) if node not in inside}


def test_every_module_belongs_to_a_layer():
    strangers = [shown(path) for path in MODULES if layer(path) not in MAY_IMPORT]
    assert not strangers, "give each a line in MAY_IMPORT, or move it into a layer"


def test_imports_follow_the_arrows():
    offenders = []
    for path in MODULES:
        allowed = MAY_IMPORT.get(layer(path), set()) | {"", "errors", "settings", layer(path)}
        for node, name in imports(path):
            target = own_layer(name)
            if target is not None and target not in allowed:
                offenders.append(f"{shown(path, node)} imports {name}")
    assert not offenders


def test_only_the_dagster_layers_know_dagster():
    offenders = [
        f"{shown(path, node)} imports {name}"
        for path in MODULES
        if layer(path) not in DAGSTER_LAYERS
        for node, name in imports(path)
        if name.split(".")[0].startswith("dagster")
    ]
    assert not offenders


@pytest.mark.parametrize("name", ["cli", ""])
def test_importing_the_package_or_its_cli_loads_no_dagster(name):
    late = DAGSTER_LAYERS if name == "cli" else set(MAY_IMPORT) - {""}
    offenders = [
        f"{shown(path, node)} imports {imported}"
        for path in MODULES
        if layer(path) == name
        for node, imported in imports(path)
        if own_layer(imported) in late and node in top_level(path)
    ]
    assert not offenders, "import it inside the function that needs it"


@pytest.mark.parametrize("name", PURE_LAYERS)
def test_pure_layers_import_no_clock_disk_or_network(name):
    offenders = [
        f"{shown(path, node)} imports {imported}"
        for path in sorted((PACKAGE / name).rglob("*.py"))
        for node, imported in imports(path)
        if imported.split(".")[0] in IMPURE_MODULES
    ]
    assert not offenders


@pytest.mark.parametrize("name", PURE_LAYERS)
def test_pure_layers_call_no_clock_chance_or_file(name):
    offenders = [
        f"{shown(path, node)} calls {called(node)}()"
        for path in sorted((PACKAGE / name).rglob("*.py"))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and called(node) in IMPURE_NAMES and not reads_package_data(node)
    ]
    assert not offenders


def called(node: ast.Call) -> str:
    """The last name of what is called: `now` for `datetime.now()`."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def reads_package_data(node: ast.Call) -> bool:
    """`importlib.resources.files(...) ... .read_text()`: a module's own SQL is code, not the world."""
    receivers = ast.walk(node.func.value) if isinstance(node.func, ast.Attribute) else ()
    from_files = any(isinstance(n, ast.Call) and called(n) == "files" for n in receivers)
    return called(node) == "read_text" and from_files


def test_imports_are_absolute():
    offenders = [
        shown(path, node)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert not offenders


def test_dagster_layers_keep_their_annotations():
    """Postponed annotations break Dagster functions that annotate `context`."""
    offenders = [
        shown(path, node)
        for path in MODULES
        if layer(path) in DAGSTER_LAYERS
        for node, name in imports(path)
        if name == "__future__.annotations"
    ]
    assert not offenders


def test_every_module_states_its_boundary():
    assert not [shown(path) for path in MODULES if not ast.get_docstring(tree(path))]


def test_files_stay_small():
    sizes = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_functions_stay_small():
    sizes = {
        f"{shown(path, function)} {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in MODULES
        for function in functions(path)
    }
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}


# The tests above pass on code that keeps the rules; these show that each reader sees a breach.


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sample.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_hidden_imports_are_seen(tmp_path):
    text = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from feedback_platform.defs import jobs\n"
        "def f():\n    import dagster as dg\n    from feedback_platform import lake\n"
    )
    path = written(tmp_path, text)
    names = {name for _, name in imports(path)}
    assert {"feedback_platform.defs.jobs", "dagster", "feedback_platform.lake"} <= names
    assert {own_layer(name) for name in names} == {"defs", "lake", None}
    late = {name for node, name in imports(path) if node not in top_level(path)}
    assert late == {"dagster", "feedback_platform.lake"}


@pytest.mark.parametrize(
    ("expression", "impure"),
    [
        ("datetime.now(UTC)", True),
        ("np.random.default_rng(0)", True),
        ("Path('x').read_text()", True),
        ("open('x')", True),
        ("files('feedback_platform.stages').joinpath('a.sql').read_text()", False),
        ("datetime(2026, 1, 1)", False),
    ],
)
def test_impure_calls_are_seen(expression, impure):
    calls = [n for n in ast.walk(ast.parse(expression)) if isinstance(n, ast.Call)]
    assert any(called(n) in IMPURE_NAMES and not reads_package_data(n) for n in calls) == impure
