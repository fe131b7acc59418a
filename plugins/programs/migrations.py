"""What migrations of Django take away: columns and tables that the release which serves still needs, and their data.

An operation is a name and its arguments, as `Operation.deconstruct()` gives them and as they are written in a file.
"""

import ast
import re

SQL_THAT_TAKES = re.compile(r"\b(?:drop|truncate|rename|delete)\b[^;]{0,80}", re.IGNORECASE)
# Names of positional arguments, where a file leaves out the keywords.
ARGUMENTS = {
    "RemoveField": ("model_name", "name"), "DeleteModel": ("name",),
    "RenameField": ("model_name", "old_name", "new_name"), "RenameModel": ("old_name", "new_name"),
    "AlterModelTable": ("name", "table"), "RunSQL": ("sql",), "SeparateDatabaseAndState": ("database_operations",),
}
WORDS = {
    "RemoveField": "drops the column {name} of {model_name}",
    "DeleteModel": "drops the table of {name}",
    "RenameField": "renames the column {old_name} of {model_name} to {new_name}",
    "RenameModel": "renames the table of {old_name} to {new_name}",
    "AlterModelTable": "renames the table of {name} to {table}",
}


def in_words(name, arguments):
    """A sentence about an operation that takes something away, else None."""
    if name in WORDS:
        return WORDS[name].format_map({**dict.fromkeys(ARGUMENTS[name], "?"), **arguments})
    if name == "RunSQL":
        sql = arguments.get("sql", "")
        found = SQL_THAT_TAKES.search("; ".join(map(str, sql)) if isinstance(sql, list | tuple) else str(sql))
        return f"runs SQL: {' '.join(found[0].split())}" if found else None
    return None


def written(source):
    """Sentences about the operations in the text of a migration's file; it is read, never run."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lists = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign)
             and any(isinstance(target, ast.Name) and target.id == "operations" for target in node.targets)]
    return [sentence for value in lists for sentence in _of_list(value)]


def _of_list(value):
    for call in getattr(value, "elts", []):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        given = dict(zip(ARGUMENTS.get(name, ()), call.args, strict=False))
        given.update({keyword.arg: keyword.value for keyword in call.keywords})
        if name == "SeparateDatabaseAndState":
            yield from _of_list(given.get("database_operations"))
        elif sentence := in_words(name, {key: _literal(node) for key, node in given.items()}):
            yield sentence


def _literal(node):
    if isinstance(node, ast.List | ast.Tuple):
        return "; ".join(str(_literal(one)) for one in node.elts)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return ast.unparse(node)[:80]
