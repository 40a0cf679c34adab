"""Mutants of the library: its source with one small change each, which a good test notices.

`sites` lists every change that a module offers, and `draw` chooses some of them, evenly over the modules and within a
module evenly over the kinds of change. The text of the module is changed at one place and stays as it is elsewhere.

What only speaks is left alone: docstrings, messages, annotations, `__repr__`, and private functions that return text.
So is what no test could notice, as far as a rule can see it.
"""

import ast
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Python's own node types have a line and a column; the base class does not declare them.
Node = ast.expr | ast.stmt | ast.arg | ast.keyword

# Of each operator: how it is written, and what it becomes.
COMPARISONS: dict[type, tuple[str, ...]] = {
    ast.Lt: ("<", "<=", ">"),
    ast.LtE: ("<=", "<", ">"),
    ast.Gt: (">", ">=", "<"),
    ast.GtE: (">=", ">", "<"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
ARITHMETIC: dict[type, tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
NAMES = {
    **{"sum": "mean", "mean": "sum", "max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum"},
    **{"any": "all", "all": "any", "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like"},
    **{"ones_like": "zeros_like", "argmax": "argmin", "argmin": "argmax", "floor": "ceil", "ceil": "floor"},
    **{"cos": "sin", "sin": "cos"},
}
# Functions that only speak: the text of a message or a table. Whatever raises an error speaks in its arguments.
SILENT = {"__repr__", "__str__", "__rich__", "leaf_table", "as_text", "describe_device", "why", "warn", "print"}
SPEAKING = re.compile(r"BadInput|\w*Error|Missing|LostProcess|NonFinite|warn|print|Table|Text|add_column|getLogger")
# Functions whose arguments are of different kinds: exchanged, they raise an error at once.
DIFFERENT_KINDS = {
    *("isinstance", "issubclass", "getattr", "hasattr", "setattr", "issubdtype", "asarray", "astype", "vmap", "full"),
    *("normal", "uniform", "split", "fold_in", "scan", "map", "filter", "update", "sorted", "partial", "device_put"),
    *("broadcast_to", "reshape", "transpose", "moveaxis", "replace", "write_json", "write_csv", "write_atomically"),
}
# Functions that take their arguments in any order.
COMMUTATIVE = {"min", "max", "minimum", "maximum", "logaddexp", "array_equal"}
# Arguments that change no result: the second look of `zip`, what a CPU has only one of, how a file looks, where a
# warning points to, and what the compiler is free to choose.
UNNOTICEABLE = {
    *("strict", "precision", "preferred_element_type", "inline", "donate_argnums", "unroll", "indent", "encoding"),
    *("stacklevel", "flush", "ensure_ascii", "daemon", "maxsize"),
}


class Mutant(NamedTuple):
    """One change of one file: the bytes from `start` to `end` are replaced.

    file: as seen from the root of the tree.
    line: of the beginning of the change, counted from 1.
    """

    file: str
    line: int
    kind: str
    start: int
    end: int
    replacement: str

    def applied(self, source: str) -> str:
        data = source.encode()
        return (data[: self.start] + self.replacement.encode() + data[self.end :]).decode()

    def before_and_after(self, source: str) -> tuple[str, str]:
        """The lines that the change touches, as they are and as they become, each on one line."""
        data = source.encode()
        first = data.rfind(b"\n", 0, self.start) + 1
        last = data.find(b"\n", self.end)
        last = len(data) if last < 0 else last
        before = data[first:last].decode()
        after = data[first : self.start].decode() + self.replacement + data[self.end : last].decode()
        return " ".join(before.split()), " ".join(after.split())


def library_modules(root: Path) -> list[str]:
    """The modules of the library in which there is anything to change, as files seen from the root of the tree."""
    files = sorted(str(path.relative_to(root)) for path in (root / "jaxprop").rglob("*.py"))
    return [file for file in files if sites((root / file).read_text(), file)]


def draw(root: Path, modules: Iterable[str], count: int, seed: int) -> list[Mutant]:
    """So many mutants or all there are, drawn by the seed; each module gives as many as the others, if it has them.

    The first ones are spread over all modules too: whoever stops early has asked something of each.
    """
    rng = random.Random(seed)
    queues = [_in_turn((root / file).read_text(), file, rng) for file in modules]
    drawn: list[Mutant] = []
    while queues and len(drawn) < count:
        rng.shuffle(queues)
        found = [next(queue, None) for queue in queues]
        queues = [queue for queue, mutant in zip(queues, found, strict=True) if mutant is not None]
        drawn += [mutant for mutant in found if mutant is not None]
    return drawn[:count]


def changes(mutant: Mutant, source: str) -> bool:
    """Whether the changed module can be parsed and is another one than before."""
    try:
        return ast.dump(ast.parse(mutant.applied(source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _in_turn(source: str, file: str, rng: random.Random) -> Iterator[Mutant]:
    """All mutants in random order, the kinds in turn, and the lines that have had none before the others."""
    mutants = sites(source, file)
    by_kind: dict[str, list[Mutant]] = {}
    for mutant in rng.sample(mutants, len(mutants)):
        by_kind.setdefault(mutant.kind, []).append(mutant)
    kinds = rng.sample(sorted(by_kind), len(by_kind))
    ordered = [by_kind[kind][i] for i in range(len(mutants)) for kind in kinds if i < len(by_kind[kind])]
    seen: set[int] = set()
    first, later = [], []
    for mutant in ordered:
        (later if mutant.line in seen else first).append(mutant)
        seen.add(mutant.line)
    return (mutant for mutant in first + later if changes(mutant, source))


def sites(source: str, file: str) -> list[Mutant]:
    """Every change that this module offers, from its first line to its last."""
    found = _Sites(source, file)
    found.visit(ast.parse(source))
    return sorted(found.mutants, key=lambda mutant: (mutant.start, mutant.end, mutant.replacement))


class _Sites(ast.NodeVisitor):
    """Walks through a module and writes down what could be changed."""

    def __init__(self, source: str, file: str):
        self.data, self.file = source.encode(), file
        self.starts = [0]  # of each line, in bytes
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.mutants: list[Mutant] = []
        self.inside_function = False

    # Places in the text

    def begin(self, node: Node) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: Node) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: Node) -> str:
        return self.data[self.begin(node) : self.end(node)].decode()

    def add(self, kind: str, start: int, end: int, replacement: str) -> None:
        line = self.data[:start].count(b"\n") + 1
        self.mutants.append(Mutant(self.file, line, kind, start, end, replacement))

    def replace(self, kind: str, node: Node, replacement: str) -> None:
        self.add(kind, self.begin(node), self.end(node), replacement)

    def replace_between(self, kind: str, left: Node, right: Node, symbol: str, replacement: str) -> None:
        """Replaces the operator between two operands."""
        start, end = self.end(left), self.begin(right)
        between = self.data[start:end].decode()
        pattern = r"\s+".join(re.escape(word) for word in symbol.split())
        if found := re.search(pattern, between):
            offset = len(between[: found.start()].encode())
            self.add(kind, start + offset, start + offset + len(found.group().encode()), replacement)

    # What is left alone

    def visit_Import(self, node: ast.Import) -> None: ...

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None: ...

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None: ...

    def visit_Assert(self, node: ast.Assert) -> None: ...

    def visit_Global(self, node: ast.Global) -> None: ...

    def visit_Raise(self, node: ast.Raise) -> None:
        """What is raised is a message. That it is raised counts."""
        if node.exc is not None:
            self.replace("statement removed", node, "pass")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        words_only = node.name.startswith("_") and isinstance(node.returns, ast.Name) and node.returns.id == "str"
        if words_only or node.name in SILENT:
            return
        before, self.inside_function = self.inside_function, True
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        self.body(node.body)
        self.inside_function = before

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.body(node.body)

    def visit_Module(self, node: ast.Module) -> None:
        self.body(node.body)

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring, or `...`
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if "__all__" in names or (not self.inside_function and _is_type(node.value)):
            return  # another name of a type
        if self.inside_function and any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self.replace("statement removed", node, "pass")
        self.visit(node.value)

    # What is changed

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.replace("statement removed", node, "pass")
        if (words := ARITHMETIC.get(type(node.op))) and not _is_text(node.value):
            self.replace_between("arithmetic", node.target, node.value, words[0] + "=", words[1] + "=")
        self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and not self.speaks(node.value):
            self.replace("statement removed", node, "pass")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.replace("statement removed", node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self.replace("statement removed", node, "pass")

    def visit_Return(self, node: ast.Return) -> None:
        value = node.value
        if value is None or (isinstance(value, ast.Constant) and value.value is None) or _is_text(value):
            return
        if isinstance(value, ast.Tuple) and len(value.elts) == 2:
            one, other = map(self.text, value.elts)
            self.replace("return changed", value, f"{other}, {one}")
        else:
            self.replace("return changed", value, "None")
        self.visit(value)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            symbol, *others = COMPARISONS[type(operator)]
            for other in others:
                kind = "boundary" if other in (symbol + "=", symbol[:-1]) else "comparison"
                self.replace_between(kind, left, right, symbol, other)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if (words := ARITHMETIC.get(type(node.op))) and not (_is_text(node.left) or _is_text(node.right)):
            self.replace_between("arithmetic", node.left, node.right, *words)
        if isinstance(node.op, ast.MatMult):
            self.replace("arithmetic", node, f"({self.text(node.right)}) @ ({self.text(node.left)})")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        self.replace_between("and / or", node.values[0], node.values[1], *words)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            kind = "sign dropped" if isinstance(node.op, ast.USub) else "not dropped"
            self.replace(kind, node, f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        if not _is_text(node.body) and not _is_text(node.orelse):
            body, test, orelse = self.text(node.body), self.text(node.test), self.text(node.orelse)
            self.replace("branches swapped", node, f"({orelse}) if {test} else ({body})")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if _tests_for_types(node.test):
            return
        self.replace("branches swapped", node.test, f"not ({self.text(node.test)})")
        self.visit(node.test)
        self.body(node.body)
        self.body(node.orelse)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.replace("constant", node, str(not value))
        elif isinstance(value, int):
            self.replace("constant", node, str(value + 1))
        elif isinstance(value, float) and value:
            self.replace("constant", node, f"({self.text(node)} * 2)")

    def visit_Call(self, node: ast.Call) -> None:
        if self.speaks(node):
            return
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in NAMES:
            self.add("function", self.end(function) - len(name), self.end(function), NAMES[name])
        if len(node.args) >= 2 and not any(isinstance(a, ast.Starred) or _is_text(a) for a in node.args[:2]):
            first, second = node.args[:2]
            swapped = f"{self.text(second)}{self.data[self.end(first) : self.begin(second)].decode()}{self.text(first)}"
            if name not in DIFFERENT_KINDS | COMMUTATIVE:
                self.add("arguments swapped", self.begin(first), self.end(second), swapped)
        for keyword in node.keywords:
            self.keyword(node, keyword)
        self.visit(function)
        for argument in node.args[: 1 if name == "isinstance" else None]:
            self.visit(argument)

    def keyword(self, call: ast.Call, keyword: ast.keyword) -> None:
        if keyword.arg is None or keyword.arg in UNNOTICEABLE or _is_text(keyword.value):
            return
        others = [part for part in (*call.args, *call.keywords) if part is not keyword]
        texts = [self.text(part) for part in sorted(others, key=self.begin)]
        if not any(isinstance(part, ast.GeneratorExp) for part in others):
            start = self.end(call.func)
            self.add("argument removed", start, self.end(call), f"({', '.join(texts)})")
        if keyword.arg in ("axis", "axes", "in_axes", "out_axes", "dimension"):
            if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, int):
                self.replace("wrong axis", keyword.value, str(1 - keyword.value.value))
            elif isinstance(keyword.value, ast.UnaryOp):
                self.replace("wrong axis", keyword.value, "0")
            else:
                self.visit(keyword.value)
        else:
            self.visit(keyword.value)

    def speaks(self, call: ast.Call) -> bool:
        """Whether a call only makes a message."""
        function = call.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        return bool(SPEAKING.fullmatch(name)) or name in SILENT

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """A number may be the place of an element; a type in brackets, as in `Float[Array, "B"]`, is one of names."""
        if not _is_type(node):
            self.generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    """Whether this is text, or made of text with an operator."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


TYPES = re.compile(
    r"Float|Int|Bool|Array|Callable|Any|Iterable|Iterator|Mapping|Sequence|Annotated|Literal|TypeVar|Union"
)


def _is_type(node: ast.AST) -> bool:
    """Whether an expression is that of a type: a name of `TYPES`, one in brackets, or several with `|`."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr) and (_is_type(node.left) or _is_type(node.right))
    if isinstance(node, ast.Subscript):
        return _is_type(node.value) or (isinstance(node.value, ast.Name) and node.value.id in ("tuple", "dict", "list"))
    if isinstance(node, ast.Call):
        return _is_type(node.func)
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return bool(TYPES.fullmatch(name))


def _tests_for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def room_of(file: str) -> str:
    """The folder inside the library; `files` and `testing` are rooms of one module, and the others are the heart."""
    path = Path(file)
    if len(path.parts) > 2:
        return path.parts[1]
    return path.stem if path.stem in ("files", "testing") else "heart"
