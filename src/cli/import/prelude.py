# Runs one watch file of the twitcher of the 2010s, with the names that it may use, and prints what it registers
# as JSON. Read by python3 from standard input, with the path of the file as its argument.
#
# What is printed to standard output meanwhile goes to standard error, so that it cannot be taken for the JSON.
# A file had one namespace for its names and another for what it was given, so that a function did not see the
# file's own imports; here there is one, in which it does.

import ast
import dis
import json
import math
import os
import sys
import textwrap
import tokenize
import traceback
import types


class Word:
    """A value that stands for itself, such as QUEUE."""

    def __init__(self, kind, word):
        self.kind, self.word = kind, word

    def __repr__(self):
        return self.word


class Command:
    """What Exec returns. To call it would have executed it."""

    def __init__(self, command):
        self.command = command

    def __call__(self):
        raise RuntimeError("Exec(...) was called while the file was read")


class Lost(Exception):
    """What cannot be carried over, and why."""


PARAMETERS = [
    "znode", "action", "pipe_stdin", "run_on_load", "run_mode", "description", "uid", "gid", "watch_type",
    "notify_signal", "timeout",
]
PATH = sys.argv[1]
NAMES = {
    "Exec": Command,
    "QUEUE": Word("run_mode", "QUEUE"),
    "DISCARD": Word("run_mode", "DISCARD"),
    "PARALLEL": Word("run_mode", "PARALLEL"),
    "WATCH_DATA": Word("watch_type", "data"),
    "WATCH_CHILDREN": Word("watch_type", "children"),
}
registered = []


def RegisterWatch(*values, **named):
    line = line_of_call()
    if len(values) > len(PARAMETERS):
        raise TypeError("RegisterWatch takes at most %d values" % len(PARAMETERS))
    given = dict(zip(PARAMETERS, values))
    for name, value in named.items():
        if name in given:
            raise TypeError("RegisterWatch is given %s twice" % name)
        given[name] = value
    registered.append((line, given))


NAMES["RegisterWatch"] = RegisterWatch


def line_of_call():
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == PATH:
            return frame.f_lineno
        frame = frame.f_back
    return 1


class Source:
    """The text of the file, and where in it what is called by a name is defined."""

    def __init__(self, text):
        self.text = text
        self.lines = text.split("\n")
        self.tree = ast.parse(text, PATH)

    def of_node(self, node):
        lines = "\n".join(self.lines[node.lineno - 1 : node.end_lineno])
        texts = [each for each in ast.walk(node) if isinstance(each, (ast.Constant, ast.JoinedStr))]
        if node.col_offset and any(each.end_lineno > each.lineno for each in texts):
            # To move it to the left would change what is in a text of several lines.
            return "if True:\n" + lines
        return textwrap.dedent(lines)

    def of_function(self, function):
        code = function.__code__
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.Lambda)):
                lines = [node.lineno] + [each.lineno for each in getattr(node, "decorator_list", [])]
                name = getattr(node, "name", "<lambda>")
                if code.co_name == name and code.co_firstlineno in lines:
                    found.append(node)
        if code.co_filename != PATH or not found:
            raise Lost("the source of %s is not in this file" % called(function))
        if len(found) > 1:
            raise Lost("there are several functions on line %d" % code.co_firstlineno)
        return found[0]

    def imports(self, name):
        """The imports in the file that give something this name."""
        found = []
        for node in ast.walk(self.tree):
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            for alias in node.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    single = {**vars(node), "names": [alias]}
                    found.append(ast.unparse(type(node)(**single)))
        return list(dict.fromkeys(found))

    def comments_above(self, line):
        """The comment that stands above the statement that goes on at this line."""
        first = line
        for node in ast.walk(self.tree):
            if isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                if node.lineno <= line <= node.end_lineno and not hasattr(node, "body"):
                    first = min(first, node.lineno)
        above = []
        at = first - 2
        while at >= 0 and self.lines[at].strip().startswith("#") and not self.lines[at].startswith("#!"):
            above.insert(0, self.lines[at].strip()[1:].removeprefix(" "))
            at -= 1
        return above


def called(thing):
    return getattr(thing, "__qualname__", None) or repr(thing)


class Script:
    """A function as a script: its source, and that of what it needs, and a call."""

    def __init__(self, source, namespace, function):
        self.source, self.namespace = source, namespace
        self.imports, self.parts = [], []
        # What stands for what in the script so far, and which functions are in it.
        self.seen, self.defined = {}, []
        call = self.function(function)
        text = "#!/usr/bin/env python3\n"
        if self.imports:
            text += "\n".join(self.imports) + "\n"
        text += "\n"
        for part in self.parts:
            text += part.rstrip("\n") + "\n\n"
        # What a function returned was its exit status, and None was 0.
        self.text = text + "raise SystemExit(%s)\n" % call
        try:
            compile(self.text, "the script", "exec")
        except SyntaxError as error:
            raise Lost("%s cannot be taken out of the file: %s" % (called(function), error.msg))

    def function(self, function):
        """Takes in a function, and says how it is called."""
        code = function.__code__
        if code.co_argcount > len(function.__defaults__ or ()) or code.co_kwonlyargcount:
            raise Lost("%s wants arguments, and an action is called without any" % called(function))
        node = self.define(function)
        if isinstance(node, ast.Lambda):
            return "(%s)()" % ast.get_source_segment(self.source.text, node)
        return "%s()" % node.name

    def define(self, function):
        """Takes in what a function needs and, unless it is a lambda, the function."""
        node = self.source.of_function(function)
        if getattr(node, "decorator_list", []):
            raise Lost("%s is decorated, so that it is not what stands in its source" % called(function))
        if hasattr(node, "name"):
            self.is_there(node.name, function)
        if function in self.defined:
            return node
        self.defined.append(function)
        defaults = list(zip(node.args.defaults, function.__defaults__ or ()))
        named = dict(zip((each.arg for each in node.args.kwonlyargs), node.args.kw_defaults))
        defaults += [(named[name], value) for name, value in (function.__kwdefaults__ or {}).items()]
        for default, value in defaults:
            # The value is that of the moment when the function was made, as in a loop.
            if isinstance(default, ast.Name):
                self.name(default.id, value)
            elif not is_literal_node(default):
                raise Lost("%s has a default that is computed" % called(function))
        self.names(function)
        if not isinstance(node, ast.Lambda):
            self.parts.append(self.source.of_node(node))
        return node

    def is_there(self, name, value):
        """Whether the script has this name already, which stands for this value from now on."""
        if name in self.seen and self.seen[name] is not value:
            raise Lost("%s stands for several things in it" % name)
        is_there = name in self.seen
        self.seen[name] = value
        return is_there

    def names(self, function):
        """Takes in what a function takes from outside of it."""
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
        for name, cell in cells.items():
            try:
                self.name(name, cell.cell_contents)
            except ValueError:
                raise Lost("%s uses %s, which has no value" % (called(function), name))
        for name in sorted(names_in(function.__code__)):
            if name in self.namespace and name not in cells:
                self.name(name, self.namespace[name])

    def name(self, name, value):
        if self.is_there(name, value):
            return
        if name in NAMES or isinstance(value, (Word, Command)):
            raise Lost("it uses %s while it runs" % name)
        imports = self.source.imports(name)
        own = getattr(value, "__module__", None) == NAMESPACE
        if imports and not own:
            self.imports.extend(imports)
            return
        if isinstance(value, types.FunctionType):
            node = self.define(value)
            if isinstance(node, ast.Lambda):
                self.parts.append("%s = %s" % (name, ast.get_source_segment(self.source.text, node)))
            elif node.name != name:
                self.parts.append("%s = %s" % (name, node.name))
            return
        if is_literal(value):
            self.parts.append("%s = %r" % (name, value))
            return
        raise Lost("it uses %s, whose value cannot be written down" % name)


def names_in(code):
    """All names that some code, and what is defined in it, may take from outside."""
    # Names of attributes are among co_names as well.
    taken = ("LOAD_GLOBAL", "LOAD_NAME")
    names = {each.argval for each in dis.get_instructions(code) if each.opname in taken}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_in(constant)
    return names


def is_literal(value):
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def is_literal_node(node):
    try:
        ast.literal_eval(node)
        return True
    except ValueError:
        return False


def action(source, namespace, given):
    """What is to be run, as a key and its value."""
    if "action" not in given or given["action"] is None:
        raise Lost("it has no action")
    what = given["action"]
    if isinstance(what, Command):
        command = what.command
        if isinstance(command, str):
            return {"command": command}
        if isinstance(command, (list, tuple)) and all(isinstance(word, str) for word in command):
            return {"command": list(command)}
        raise Lost("Exec is given neither a text nor a list of texts, but %r" % (command,))
    if isinstance(what, types.FunctionType):
        return {"script": Script(source, namespace, what).text}
    if isinstance(what, types.MethodType):
        raise Lost("its action is a method, which cannot be taken from its object")
    raise Lost("its action is neither Exec(...) nor a function, but %r" % (what,))


def plain(value):
    """A value as JSON has it, or None if it has not."""
    if isinstance(value, bool) or isinstance(value, str):
        return value
    # Signals are numbers with a name.
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    return None


# Without these it would be another watch, or run as somebody else.
ESSENTIAL = ["znode", "watch_type", "run_mode", "uid", "gid"]


def watch(source, namespace, line, given):
    keys, notes, lost = {}, [], None
    for name, value in given.items():
        if name == "action" or value is None:
            continue
        word = isinstance(value, Word)
        if name not in PARAMETERS:
            notes.append("%s = %r is no parameter of RegisterWatch" % (name, value))
        elif word and value.kind == name:
            keys[name] = value.word
        elif word or name in ("run_mode", "watch_type") or plain(value) is None:
            note = "%s = %r is not a value that it can have" % (name, value)
            if name in ESSENTIAL:
                lost = lost or note
            else:
                notes.append(note)
        else:
            keys[name] = plain(value)
    try:
        keys.update(action(source, namespace, given))
    except Lost as why:
        lost = lost or str(why)
    comments = source.comments_above(line)
    return {"line": line, "comments": comments, "keys": keys, "notes": notes, "lost": lost}


NAMESPACE = "__twitcher_watch_file__"


def main():
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.argv = [PATH]
    # The folder that this was started in is no place for a file's imports.
    sys.path[:] = [place for place in sys.path if place]
    module = types.ModuleType("twitcher")
    vars(module).update(NAMES)
    sys.modules["twitcher"] = module
    namespace = {"__name__": NAMESPACE, "__file__": PATH, "twitcher": module, **NAMES}
    answer = {"watches": [], "error": None}
    try:
        # Finds out how it is encoded as Python does.
        with tokenize.open(PATH) as file:
            source = Source(file.read())
        exec(compile(source.tree, PATH, "exec"), namespace)
        namespace.pop("twitcher", None)
        for line, given in registered:
            answer["watches"].append(watch(source, namespace, line, given))
    except SyntaxError as error:
        line = error.lineno if error.filename == PATH else None
        answer["error"] = {"line": line, "message": "no Python 3: %s" % error.msg, "is_syntax": True}
    except BaseException as error:
        inside = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == PATH]
        kind = type(error).__name__
        message = "%s: %s" % (kind, error) if str(error) else kind
        answer["error"] = {"line": inside[-1] if inside else None, "message": message, "is_syntax": False}
    json.dump(answer, out)
    out.flush()
    # What the file may have started is not waited for.
    os._exit(0)


main()
