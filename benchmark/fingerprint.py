"""Digests of the source code that produces a record's numbers, and detection of records from earlier code.

It imports only the standard library, so every Python can load this file by its path.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
FOLDERS = {"method": "methods", "model": "benchmark/models", "data": "datasets", "trainer": "benchmark/training"}
BOOKKEEPING = "methods/registry.py"  # finds methods and computes no numbers, although each method imports it
UNKNOWN = "unknown"
MANY = 4  # maximum number of sentences on one part in a caption
WITHOUT_MEANING = {"ctx", "kind", "type_comment", "type_ignores"}  # fields of the syntax tree
TARGET = re.compile(r"""_target_["']?\s*:\s*["']?([\w.]+)""")
COMMENT = re.compile(r"(?<!\S)#.*")

Fingerprint = dict[str, str]


class _Names(NamedTuple):
    """The choices whose code produces a record's numbers; methods: the outermost wrapper first."""

    methods: tuple[str, ...]
    model: str
    dataset: str
    noise: str
    imbalance: str


class _Module(NamedTuple):
    """The content of a source file; imports: paths without extension, also of attributes; methods: names of the registered methods."""

    digest: str
    imports: tuple[Path, ...]
    methods: tuple[str, ...]


def of(config: Mapping[str, Any], root: Path = ROOT, plugins: Mapping[str, str | Path] | None = None) -> Fingerprint:
    """Return the digest of each part of the code: method, model, data, trainer, and plugin if some of it is outside the checkout.

    config: the identity of a record; root: the checkout
    plugins: the file of the module behind each choice of a plug-in, by its name on the command line, such as "method=mine"
    A part is 'unknown' if neither the checkout nor `plugins` has a choice, or if this Python cannot parse a file.
    Files are read at the first call; later calls in the same process do not read them again.
    """
    return dict(_of(_names(config), root, _items(plugins)))


def _names(config: Mapping[str, Any]) -> _Names:
    methods, method = [], config["method"]
    while method:
        methods.append(method["name"])
        method = method.get("base")
    chosen = (config.get(part, {"name": "none"})["name"] for part in ("model", "dataset", "noise", "imbalance"))
    return _Names(tuple(methods), *chosen)


def _items(plugins: Mapping[str, str | Path] | None) -> tuple[tuple[str, Path], ...]:
    return tuple((name, Path(file)) for name, file in (plugins or {}).items())


@functools.cache
def _of(names: _Names, root: Path, plugins: tuple[tuple[str, Path], ...]) -> Fingerprint:
    found: Fingerprint = {}
    used: set[Path] = set()
    for part, folder in FOLDERS.items():
        choices = tuple((choice, tuple(files)) for choice, files in _choices(part, names, root))
        found[part], theirs = _of_part(choices, folder, root, plugins)
        used |= theirs
    if used:
        found["plugin"] = _digest_of_files({file for module in used for file in _package(module)}, root)
    return found


@functools.cache
def _of_part(
    choices: tuple[tuple[str, tuple[Path, ...]], ...], folder: str, root: Path, plugins: tuple[tuple[str, Path], ...]
) -> tuple[str, frozenset[Path]]:
    """The digest of the code of these choices, and the files of plug-ins among it, which another digest is of."""
    outside = dict(plugins)
    given = {outside[choice] for choice, files in choices if not files and choice in outside}
    theirs = frozenset(file for file in given if not _is_of_checkout(file, root))
    if not all(files or choice in outside for choice, files in choices):
        return UNKNOWN, frozenset()
    reached = _reached([*given, *(file for _, files in choices for file in files)], root / folder, root)
    return _digest_of_files(reached, root, leave_out=theirs), theirs


def _is_of_checkout(file: Path, root: Path) -> bool:
    """Return whether it is code of the suite, which a choice of a plug-in may also name."""
    return any(file.resolve().is_relative_to(root / folder) for folder in FOLDERS.values())


def _choices(part: str, names: _Names, root: Path) -> list[tuple[str, list[Path]]]:
    """Return the choices whose code makes the part, each with its modules in the checkout: none if the checkout does not know it."""
    if part == "method":
        return [(f"method={name}", _registered(root).get(name, [])) for name in names.methods]
    if part == "model":
        return [(f"model={names.model}", _targets("model", names.model, root))]
    if part == "data":
        chosen = [("dataset", names.dataset), ("noise", names.noise)]
        chosen += [("imbalance", names.imbalance)] if names.imbalance != "none" else []
        return [("task", [root / "datasets" / "task.py"]), *((f"{group}={name}", _targets(group, name, root)) for group, name in chosen)]
    return [("trainer", [root / "benchmark" / "training" / "trainer.py"])]


@functools.cache
def _registered(root: Path) -> dict[str, list[Path]]:
    return {name: [file] for file in sorted((root / "methods").glob("*.py")) for name in _read(file, root).methods}


def _targets(group: str, name: str, root: Path) -> list[Path]:
    """Return the modules of every `_target_` of a choice in conf/; none if one of them is outside the checkout."""
    modules = [_module(target.split("."), root) for target in TARGET.findall(_configuration(root / "conf" / group, name))]
    found = [module for module in modules if module]
    return found if len(found) == len(modules) else []


def _configuration(folder: Path, name: str) -> str:
    """Return the YAML, without comments, of the choice `name`: the file with this name, else a file that sets it, else an empty text."""
    own = folder / f"{name}.yaml"
    files = [own] if own.is_file() else sorted(folder.rglob("*.yaml"))
    texts = [COMMENT.sub("", file.read_text(encoding="utf-8")) for file in files]
    says = re.compile(rf"""(?<![\w.])name["']?\s*:\s*["']?{re.escape(name)}["']?\s*([,}}]|$)""", re.MULTILINE)
    return next((text for text in texts if own.is_file() or says.search(text)), "")


def _module(target: list[str], root: Path) -> Path | None:
    """Return the file of the module that contains the dotted `target`."""
    places = [root.joinpath(*target[:depth]) for depth in range(len(target), 0, -1)]
    return next((file for place in places for file in _files(place)), None)


def _files(module: Path) -> list[Path]:
    """Return the file of the module at a path without extension, or of the package there, if it exists."""
    return [file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file()]


def _reached(starts: Iterable[Path], folder: Path, root: Path) -> set[Path]:
    """Return `starts` and everything that they import within `folder`, directly or indirectly, with the packages of these modules."""
    found: set[Path] = set()
    todo = list(starts)
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            modules = [*_read(file, root).imports, *file.parents]
            todo += [each for module in modules if module.is_relative_to(folder) for each in _files(module)]
    return found - {root / BOOKKEEPING}


def _package(file: Path) -> Iterable[Path]:
    """Return the Python files of the outermost package that contains `file`; only `file` if there is none."""
    packages = list(itertools.takewhile(lambda folder: (folder / "__init__.py").is_file(), file.parents))
    return packages[-1].rglob("*.py") if packages else [file]


def _digest_of_files(files: set[Path], root: Path, leave_out: Iterable[Path] = ()) -> str:
    """Return a digest that does not depend on the names or the order of the files; 'unknown' if one cannot be read."""
    if UNKNOWN in (_read(file, root).digest for file in files):
        return UNKNOWN
    return _short("\n".join(sorted(_read(file, root).digest for file in files.difference(leave_out))))


@functools.cache
def _read(file: Path, root: Path) -> _Module:
    try:
        tree = ast.parse(file.read_bytes(), str(file))
        digest = _short(_canonical(tree))
    except (OSError, SyntaxError, ValueError, RecursionError):  # ValueError: a null byte
        return _Module(UNKNOWN, (), ())
    return _Module(digest, tuple(_imports(tree, file, root)), tuple(_methods(tree, file.stem)))


def _imports(tree: ast.AST, file: Path, root: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (root.joinpath(*alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else root
            module = start.joinpath(*(node.module or "").split("."))
            yield from (module, *(module / alias.name for alias in node.names))


def _methods(tree: ast.AST, stem: str) -> Iterator[str]:
    """Return the names of classes under `@register`, which is the file's name, and under `@register("name")`."""
    for decorator in (each for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for each in node.decorator_list):
        call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
        if "register" in (getattr(call.func, "id", None), getattr(call.func, "attr", None)):
            yield str(call.args[0].value) if call.args and isinstance(call.args[0], ast.Constant) else stem


def digest_of(source: str | bytes) -> str:
    """Return 12 hexadecimal digits that depend on the code in `source`, not on comments, docstrings, layout or the version of Python.

    Raises SyntaxError.
    """
    return _short(_canonical(ast.parse(source)))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _canonical(node: Any) -> str:
    """Return a text for a syntax tree that is equal on all Python versions, unlike those of `ast.dump` and `ast.unparse`."""
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    if isinstance(node, ast.AST):
        return f"{type(node).__name__}({','.join(f'{name}={_canonical(value)}' for name, value in sorted(_fields(node).items()))})"
    return hex(node) if type(node) is int else ascii(node)  # repr limits the length of int, and depends on the Unicode version for str


def _fields(node: ast.AST) -> dict[str, Any]:
    """Return the fields with a meaning, in the same form in all versions of Python."""
    fields = {name: value for name, value in ast.iter_fields(node) if name not in WITHOUT_MEANING}
    if isinstance(node, ast.Constant):
        return fields
    if isinstance(fields.get("body"), list):
        fields["body"] = [statement for statement in fields["body"] if not _is_docstring(statement)] or [ast.Pass()]
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _merged(node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr) and not _merged(node.format_spec.values):
        del fields["format_spec"]
    return {name: value for name, value in fields.items() if value is not None and value != []}


def _is_docstring(statement: ast.stmt) -> bool:
    """Return whether it is only a string, which has no effect anywhere."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def _merged(values: list[ast.expr]) -> list[ast.expr]:
    """Return the parts of an f-string, with neighbouring texts merged and empty ones removed."""
    merged: list[ast.expr] = []
    for is_text, group in itertools.groupby(values, lambda value: isinstance(value, ast.Constant)):
        parts = list(group)
        text = "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
        merged += ([ast.Constant(text)] if text else []) if is_text else parts
    return merged


def stale_parts(recorded: Mapping[str, str], today: Mapping[str, str], equivalent: Path = EQUIVALENT) -> list[str]:
    """Return the parts of `today` whose code may give other numbers than the `recorded` code; unknown parts are not compared.

    equivalent: the list of older digests that give the numbers of newer ones; raises ValueError for a line of fewer than three columns
    """
    known = {part: digest for part, digest in today.items() if digest not in (UNKNOWN, recorded.get(part))}
    return [part for part, digest in known.items() if digest not in _newer(part, recorded.get(part, ""), equivalent)]


@functools.cache
def _newer(part: str, digest: str, equivalent: Path) -> set[str]:
    """Return the digest and all digests that the list reaches from it."""
    steps = _equivalences(equivalent)
    found: set[str] = set()
    todo = [digest]
    while todo:
        step = todo.pop()
        if step not in found:
            found.add(step)
            todo += steps.get((part, step), [])
    return found


@functools.cache
def _equivalences(path: Path) -> Mapping[tuple[str, str], list[str]]:
    """Return newer digests by part and older digest."""
    steps = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            part, older, newer, *_ = line.split()
            steps[part, older].append(newer)
    return steps


def earlier(records: Iterable[Mapping[str, Any]], root: Path = ROOT, plugins: Mapping[str, str | Path] | None = None) -> list[str]:
    """Return sentences for a table's caption with the number of records from earlier code.

    One sentence covers each method, model and pair of data set and noise; if there are more than MANY, one sentence covers the part.
    """
    trials: dict[str, Counter[str]] = defaultdict(Counter)
    stale: dict[str, Counter[str]] = defaultdict(Counter)
    for (names, recorded), count in _alike(list(records)).items():
        today = _of(names, root, _items(plugins))
        subjects = _subjects(names)
        for part in today:
            trials[part][subjects[part]] += count
        for part in stale_parts(dict(recorded), today):
            stale[part][subjects[part]] += count
    return [sentence for part in (*FOLDERS, "plugin") for sentence in _sentences(part, stale[part], trials[part])]


def _alike(records: Sequence[Mapping[str, Any]]) -> Counter[tuple[_Names, tuple[tuple[str, str], ...]]]:
    """Count the records by choices and fingerprint. Equal parts of records are usually one object, and are read once."""
    parts = {(id(record["config"]), id(record.get("fingerprint"))): record for record in records}
    found: Counter[tuple[_Names, tuple[tuple[str, str], ...]]] = Counter()
    for part, count in Counter((id(record["config"]), id(record.get("fingerprint"))) for record in records).items():
        found[_names(parts[part]["config"]), tuple(parts[part].get("fingerprint", {}).items())] += count
    return found


def _subjects(names: _Names) -> Mapping[str, str]:
    """Return the words for each part of the code in a sentence."""
    return {
        "method": f"method {' around '.join(names.methods)}",
        "model": f"model {names.model}",
        "data": f"the data code of {names.dataset} with {names.noise}",
        "trainer": "the trainer",
        "plugin": "their plug-in",
    }


def _sentences(part: str, stale: Counter[str], trials: Counter[str]) -> list[str]:
    if len(stale) > MANY:
        return [_sentence(stale.total(), trials.total(), f"their {'data code' if part == 'data' else part}")]
    return [_sentence(count, trials[subject], subject) for subject, count in sorted(stale.items(), key=lambda each: (-each[1], each[0]))]


def _sentence(count: int, trials: int, subject: str) -> str:
    """
    >>> _sentence(4, 5, "method l2rw")
    '4 of 5 trials come from an earlier version of method l2rw.'
    """
    noun, verb = "trial" if trials == 1 else "trials", "comes" if count == 1 else "come"
    return f"{count} of {trials} {noun} {verb} from an earlier version of {subject}."
