"""The repository itself: who imports whom, and whether its pages tell the truth."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "esrffs"
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES = 400

# The packages from the bottom up: a module imports its own package and those before it.  The
# modules at the top of `esrffs/` may be imported by all.
PACKAGES = "linux encoders formats workers source arrays flatfield tree fuse cli".split()

HOMES = {  # the only modules and packages that import a library
    "pyfuse3": {"fuse/pyfuse3_adapter", "fuse/pyfuse3_polling", "fuse/pyfuse3_session"},
    "h5py": {"formats/hdf5", "formats/warm_up", "cli/main"},  # cli: HDF5's version for --version
    "hdf5plugin": {"formats/hdf5", "formats/filters", "formats/preload"},
    "silx": {"formats"},
    "fabio": {"formats"},
    "PIL": {"formats"},
    "tifffile": {"formats"},
    "imagecodecs": {"formats/filters", "formats/images"},
    "trio_parallel": {"workers/pool", "workers/call"},
}


def room(module: Path) -> str:
    """The package of a module; "" for those at the top."""
    parts = module.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def rank(package: str) -> int:
    return PACKAGES.index(package) if package else -1


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imported(module: Path, *, top_level: bool = False) -> Iterator[str]:
    """The modules that a module imports, wherever in it: "esrffs.encoders.npy", "h5py"."""
    tree = ast.parse(module.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            whole = node.module or ""
            for alias in node.names:
                inner = f"{whole}.{alias.name}"
                is_module = (ROOT / f"{inner.replace('.', '/')}.py").exists()
                yield inner if is_module else whole


def imported_names(module: Path) -> Iterator[str]:
    """The names that a module takes from others of ours."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("esrffs"):
            yield from (alias.name for alias in node.names)


def rooms_imported(module: Path) -> set[str]:
    """The packages that a module imports from."""
    names = (name.split(".") for name in imported(module))
    found = {parts[1] for parts in names if parts[0] == "esrffs" and len(parts) > 1}
    return {name if (PACKAGE / name).is_dir() else "" for name in found}


def name_of(path: object) -> str:
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else str(path)


def test_the_packages_are_those_of_the_design() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"} == set(
        PACKAGES
    )
    page = (ROOT / "docs" / "design.md").read_text().split("## The packages")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE) == PACKAGES


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_imports_only_from_packages_before_its_own(module: Path) -> None:
    if module.name == "__main__.py":
        return  # the program
    own = room(module)
    assert {other for other in rooms_imported(module) if rank(other) > rank(own)} == set()


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_formats_do_not_import_each_other(module: Path) -> None:
    path = module.relative_to(PACKAGE).parts
    formats = {"hdf5", "spec", "images"}
    if path[0] == "formats" and path[1] in formats:
        names = (name.split(".") for name in imported(module))
        others = {parts[2] for parts in names if parts[:2] == ["esrffs", "formats"] and parts[2:]}
        assert others & formats <= {path[1]}


WITHOUT_TRIO = {"errors", "model", "limits", "damage"}
PURE = (
    "encoders",
    *(f"arrays/{name}" for name in ("block_grid", "chunk_grid", "coalesce", "read_ahead")),
    "source/speed",
    "flatfield/formula",
    "flatfield/plan",
)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_trio_and_os_stay_where_they_belong(module: Path) -> None:
    path = module.relative_to(PACKAGE).with_suffix("").as_posix()
    libraries = {name.split(".")[0] for name in imported(module)}
    worker_side = room(module) in {"linux", "encoders", "formats"} or path in WITHOUT_TRIO
    if worker_side or path in {"workers/protocol", "workers/server"}:
        assert "trio" not in libraries
    if path.startswith(PURE) or "conventions" in path:
        assert not libraries & {"trio", "os"}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_foreign_libraries_stay_in_their_homes(module: Path) -> None:
    path = module.relative_to(PACKAGE).with_suffix("").as_posix()
    used = {name.split(".")[0] for name in imported(module)} & HOMES.keys()
    lost = {lib for lib in used if not any(f"{path}/".startswith(f"{h}/") for h in HOMES[lib])}
    assert lost == set()


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_private_name_is_imported_and_no_package_does_anything(module: Path) -> None:
    private = [name for name in imported_names(module) if name.startswith("_")]
    assert private == []
    if module.name == "__init__.py":
        assert len(ast.parse(module.read_text()).body) == 1  # its docstring


def test_no_two_modules_import_each_other() -> None:
    """Nor do three in a circle."""
    names = {module_name(path): path for path in MODULES}
    graph = {
        name: {other for other in imported(path, top_level=True) if other in names}
        for name, path in names.items()
    }
    while leaves := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_are_short_and_say_what_they_decide(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert ast.get_docstring(ast.parse(text))


def files() -> Iterator[Path]:
    """The files of the tree, with those that are not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split(b"\0")):
        path = ROOT / os.fsdecode(name)
        if path.is_file():
            yield path


def test_no_path_of_a_machine_and_no_registry_host_is_in_the_tree() -> None:
    places = re.compile(rb"/(?:work|root|home)/\w|(?:pypi|npmjs|debian)\.(?:org|com)|pythonhosted")
    found = {
        f"{name_of(path)}: {match[0].decode()}"
        for path in files()
        if path != Path(__file__)
        for match in places.finditer(path.read_bytes())
    }
    assert found == set()


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text()
        commands = re.findall(r"^(?:\w+=\w+ )?make (\w+)", text, re.MULTILINE)
        commands += re.findall(r"`(?:\w+=\w+ )?make (\w+)[^`]*`", text)
        assert set(commands) <= targets, page
    assert {"demo", "test"} <= targets


def test_ci_runs_what_the_readme_says() -> None:
    assert re.search(r"^make test$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert re.search(r"\bmake test\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


needs_fuse = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="nothing can be mounted")


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As a user would run it who has this environment on the PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PATH": path, "TMPDIR": str(cwd)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


@needs_fuse
def test_what_the_readme_shows_is_what_a_user_sees(tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    screens = re.findall(
        r"^```console\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    commands = [command for screen in screens for command in f"\n{screen}".split("\n$ ")[1:]]
    assert len(commands) > 6
    try:
        for command in commands:
            typed, _, answer = command.rstrip("\n").partition("\n")
            shown = run("sh", "-c", typed, cwd=tmp_path).stdout
            assert shown.replace("\xa0", " ").rstrip("\n") == answer, typed  # tree's blanks
    finally:
        if os.path.ismount(tmp_path / "mnt"):
            run("esrffs", "-u", "mnt", cwd=tmp_path)


def drawn_text(picture: str) -> list[tuple[str, str]]:
    """What stands in a terminal's picture: the heights of its lines, and their text."""
    return re.findall(r'<text [^>]* y="([0-9.]+)"[^>]*>([^<]*)</text>', picture)


@needs_fuse
def test_the_terminal_in_the_readme_is_what_a_user_sees(tmp_path: Path) -> None:
    made = run("python", ROOT / "demo" / "terminal.py", tmp_path / "terminal.svg", cwd=tmp_path)
    assert made.returncode == 0, made.stdout
    drawn = drawn_text((ROOT / "docs" / "terminal.svg").read_text())
    assert len(drawn) > 30
    blanks = [text for _, text in drawn if re.search(r"[ \u00a0]|&#160;", text.strip())]
    assert blanks == [], "some viewers draw no blanks: each word has a position of its own"
    assert drawn_text((tmp_path / "terminal.svg").read_text()) == drawn, "run `make pictures`"


def test_the_first_screen_of_the_readme() -> None:
    """What it is, a terminal, two commands, a corrected frame: in this order, before all else."""
    screen = (ROOT / "README.md").read_text().split("\n## ")[0]
    places = [screen.index(text) for text in ("docs/terminal.svg", "```sh", "docs/corrected.png")]
    assert places == sorted(places)
    assert len(screen[: places[-1]].splitlines()) < 22


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


@needs_fuse
def test_the_demo_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    shown = run(ROOT / "demo" / "demo.sh", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout
    assert "Read-only file system" in shown.stdout
    assert "KEEP=1 make demo" in shown.stdout.split("# How to go on\n")[1]
    assert list(tmp_path.glob("esrffs-demo.*")) == []


@needs_fuse
def test_the_demo_stays_mounted_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEP", "1")
    shown = run(ROOT / "demo" / "demo.sh", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout
    [work] = tmp_path.glob("esrffs-demo.*")
    assert os.path.ismount(work / "mnt")
    [ended_by] = re.findall(r"^\S+ -u \S+/mnt && rm -r .*$", shown.stdout, re.MULTILINE)
    ended = run("sh", "-c", ended_by, cwd=tmp_path)
    assert (ended.returncode, list(tmp_path.iterdir())) == (0, []), ended.stdout


# Every text of an error is explained


def error_texts() -> Iterator[str]:
    """All texts of errors and refusals in the package, their values replaced by "…"."""
    for module in MODULES:
        for call in ast.walk(ast.parse(module.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if not re.search(r"(Error|Refusal|BrokenInfo)$", name) or name in FOREIGN_ERRORS:
                continue
            for text in call.args:
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text.value
                elif isinstance(text, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "…" for p in text.values)
                    yield "".join(map(str, parts))


FOREIGN_ERRORS = {"OSError", "ValueError", "TypeError", "FUSEError", "AssertionError"}
LEAST = 8  # characters of a text that can be looked for


def test_every_error_is_explained() -> None:
    """docs/troubleshooting.md has (the beginning of) some part of each text that a user may see."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text().replace("`", "")
    texts = list(error_texts())
    assert len(texts) > 150
    assert [text for text in texts if not explained(text, page)] == []


def explained(text: str, page: str) -> bool:
    parts = [part.strip(" :;,()'\"") for part in text.replace("`", "").split("…")]
    known = [part[:30] for part in parts if len(part) >= LEAST]
    return not known or any(part in page for part in known)


def test_the_picture_of_the_benchmarks_is_that_of_their_table() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.picture import ROWS, ratios
    finally:
        sys.path.remove(str(ROOT))
    found = ratios((ROOT / "docs" / "performance.md").read_text())
    assert list(found) == list(ROWS.values())
    readme = (ROOT / "README.md").read_text()
    for label, words in (("stack in gzip", "a stack in gzip"), ("uncompressed stack", "uncomp")):
        ordinary, root = found[label]
        assert re.search(
            rf"^\| .*{words}.* \| {ordinary:.1f} \| {root:.1f} \|$", readme, re.MULTILINE
        )


# One word, one meaning: what was called by these has a name of the field now (docs/glossary.md).
PRIVATE_WORDS = set(
    "kitchen dish dishes supplies recipe cooked weary mourn dismiss unborn parcel patience telling "
    "rehearse rehearsal preloaded shy trouble raster rasters".split()
)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_the_private_words_do_not_come_back(module: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name):
                names.add(name.lower())
    words = {word for name in names for word in name.lower().strip("_").split("_")}
    assert words & PRIVATE_WORDS == set()
