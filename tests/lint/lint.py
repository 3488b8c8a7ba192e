#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of this tree that a compiler does not know. One check per name; ctest runs each.

    tests/lint/lint.py CHECK [--build FOLDER]     exit 1 and one line per finding, or 0

Checks: layers doors contracts sizes marks words globals format tidy tidy_tests. Needs nothing but Python's
standard library (format and tidy run clang-format and clang-tidy 14).
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE_FOLDERS = ("runtime", "kernels", "parallel", "optim", "checkpoint", "launch", "tests", "examples")
LIBRARY = ("runtime", "kernels", "parallel", "optim", "checkpoint")

# runtime's own order: a unit sees itself and what stands before it.
RUNTIME = ("base", "json", "dtype", "device", "coll", "arena", "mesh", "agree", "place",
           "state", "redistribute", "h5", "data", "metrics")
# What a folder may include, besides itself. A name without a slash is a whole folder.
MAY_INCLUDE = {
    "kernels": ("runtime/base", "runtime/dtype", "runtime/device"),
    "parallel": ("runtime", "kernels"),
    "optim": ("runtime", "kernels"),
    "checkpoint": ("runtime", "kernels"),
    "launch": ("runtime", "kernels", "parallel", "optim", "checkpoint"),
    "tests": ("runtime", "kernels", "parallel", "optim", "checkpoint", "launch"),
    "examples": ("runtime", "kernels", "parallel", "optim", "checkpoint", "launch"),
}
# One door per foreign library: pattern of the header or the call, and the files that may use it.
DOORS = (
    (r'#\s*include\s*[<"]mpi\.h', ("runtime/coll/mpi_impl.h", "tests/equiv/count_mpi.c")),
    (r'#\s*include\s*[<"](oneapi/dnnl/)?dnnl', ("kernels/cpu/matmul.c",)),
    (r'#\s*include\s*[<"](hdf5|H5\w+)\.h', ("runtime/h5.c", "runtime/h5/image.c", "runtime/h5/image.h",
                                                 "runtime/h5/survey.c", "runtime/h5/h5_impl.h", "tests/runtime/h5_foreign.h",
                                                 "runtime/h5/type.c", "runtime/h5/type.h")),
    (r'#\s*include\s*[<"]yaml\.h', ("launch/yaml.c",)),
    (r'#\s*include\s*[<"]cjson', ("runtime/json.c",)),
    (r'#\s*include\s*[<"]zlib', ("runtime/h5/filter.c",)),
    (r'#\s*include\s*[<"]isa-l', ("runtime/base/crc.c",)),
    (r'#\s*include\s*[<"]pthread\.h', ("runtime/base/thread.c", "runtime/base/thread.h")),
    # the ranks' own launcher is known by its environment before MPI is up: tri_comm_is_launched
    (r'\b(secure_)?getenv\s*\(', ("launch/env.c", "runtime/coll/mpi.c", "tests/equiv/count_mpi.c")),
)
# Words that the library, the tests or all of it must not contain, and why.
WORDS = (
    (r"\bgoto\b", CODE_FOLDERS, "every exit is a return (TRI_AUTO, TRI_MOVE)"),
    (r"\b(atoi|atol|atof)\s*\(", CODE_FOLDERS, "does not report errors: strtoll, strtod"),
    (r"\b(sprintf|strcpy|strcat|gets)\s*\(", CODE_FOLDERS, "does not know the size: snprintf"),
    (r"\b(malloc|calloc|realloc)\s*\(", ("parallel", "optim"), "TRI_NEW, TRI_NEW_ARRAY: counted"),
    (r"\bstderr\b|\bperror\s*\(", LIBRARY, "the library never prints an error: it raises it"),
    (r"\b(exit|abort|_exit)\s*\(", LIBRARY, "a failure is a status"),
)
STDERR_DOORS = ("runtime/base/log.c",)
EXIT_DOORS = ("runtime/coll/mpi.c", "runtime/h5/survey.c", "runtime/coll.c")
MAX_FUNCTION, MAX_FILE, MAX_HEADER, MAX_PARAMETERS, MAX_NESTING = 60, 600, 200, 8, 4
# First folders of absolute paths that every Linux has.
SYSTEM_PATHS = ("dev", "proc", "sys", "tmp", "usr", "etc", "bin", "var", "nonexistent")


def walk(suffixes):
    """Files of the tree with these suffixes, as paths relative to the root."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        relative = pathlib.Path(folder).relative_to(ROOT)
        folders[:] = sorted(f for f in folders if not f.startswith("build") and f not in
                            (".git", ".venv", "runs", "__pycache__") and
                            (relative.parts[:1] != ("examples",) or f != "data"))
        found += [relative / f for f in sorted(files) if f.endswith(suffixes)]
    return found


def code(suffixes=(".c", ".h", ".cu", ".cuh")):
    return [p for p in walk(suffixes) if p.parts[0] in CODE_FOLDERS]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def bare(text):
    """C text without comments and without the insides of strings; the lines stay where they are."""
    def blank(match):
        found = match.group(0)
        if found[0] in "\"'":
            return found[0] * 2
        return " " + "\n" * found.count("\n")
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def runtime_rank(path):
    """Place of a runtime file in runtime's order; None where the table does not know it."""
    unit = path.parts[1].split(".")[0]
    return RUNTIME.index(unit) if unit in RUNTIME else None


def check_layers():
    for path in code():
        for number, line in enumerate(read(path).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not match:
                continue
            included = pathlib.PurePosixPath(match.group(1))
            mine, other = path.parts[0], included.parts[0]
            where = f"{path}:{number}"
            if not (ROOT / included).is_file():
                yield f"{where}: \"{included}\" is no path from the top of the tree"
            elif mine == "runtime" and other == "runtime":
                a, b = runtime_rank(path), runtime_rank(included)
                if a is None or b is None:
                    yield f"{where}: {path if a is None else included} is not in runtime's order"
                elif b > a:
                    yield f"{where}: includes {included}, which is above it in runtime"
            elif mine != other:
                unit = str(included).split(".")[0]
                if not any(unit == m or unit.startswith(m + "/") for m in MAY_INCLUDE.get(mine, ())):
                    yield f"{where}: {mine} must not include {included}"


def check_doors():
    for path in code():
        if path.parts[0] == "tests":
            continue
        for number, line in enumerate(re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"),
                                             read(path), flags=re.S).splitlines(), 1):
            for pattern, doors in DOORS:
                if re.search(pattern, line.split("//")[0]) and str(path) not in doors:
                    yield f"{path}:{number}: only {' or '.join(doors)} may have: {line.strip()}"


def declarations(text):
    """(first line, name, has a body) of each function that a header declares or defines."""
    clean = re.sub(r'extern\s*""\s*\{', "", bare(text))
    clean = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group(0).count("\n"), clean,
                   flags=re.M)
    depth, start, position = 0, 0, 0
    for position, char in enumerate(clean):
        if char in "{;" and depth == 0:
            statement = clean[start:position]
            match = re.search(r"\b(tri_\w+)\s*\(", statement)
            if match and not re.search(r"\btypedef\b|=", statement):
                lead = len(statement) - len(statement.lstrip())
                yield clean.count("\n", 0, start + lead), match.group(1), char == "{"
        if char == "{":
            depth += 1
        elif char == "}":
            depth = max(0, depth - 1)
        if depth == 0 and char in ";}":
            start = position + 1


def check_contracts():
    for path in code((".h", ".cuh")):
        if path.parts[0] == "tests":
            continue
        text = read(path)
        lines = text.splitlines()
        for first, name, _ in declarations(text):
            begin, block = first, ""
            while begin > 0 and (lines[begin - 1].strip() or in_comment(lines, begin - 1)):
                begin -= 1
                block = lines[begin] + "\n" + block
            if "ollective" not in block or "/*" not in block:
                yield (f"{path}:{first + 1}: {name} has no contract: a comment in the same block of "
                       "lines that says whether it is collective")


def in_comment(lines, index):
    """Is line `index` inside a block comment?"""
    before = "\n".join(lines[:index])
    return before.rfind("/*") > before.rfind("*/")


def functions(text):
    """(line, name, lines, parameters, nesting) of each function defined in a C file."""
    clean = re.sub(r'extern\s*""\s*\{', " ", bare(text))
    clean = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group(0).count("\n"), clean,
                   flags=re.M)
    depth, deepest, start, head = 0, 0, 0, ""
    for position, char in enumerate(clean):
        if char == "{":
            if depth == 0:
                head = clean[start:position]
            depth += 1
            deepest = depth if depth == 1 else max(deepest, depth)
        elif char == "}":
            depth -= 1
            if depth == 0:
                match = re.search(r"(\w+)\s*\((.*)\)\s*$", head.strip(), flags=re.S)
                if match and "=" not in head:
                    lead = len(head) - len(head.lstrip())
                    first = clean.count("\n", 0, start + lead)
                    yield (first + 1, match.group(1), clean.count("\n", 0, position) - first + 1,
                           match.group(2).count(",") + 1, deepest - 1)
                start = position + 1
        elif char == ";" and depth == 0:
            start = position + 1


def check_sizes():
    for path in code():
        text = read(path)
        # a header of inline functions alone is code, not an interface
        bodies = [body for _, _, body in declarations(text)]
        inline = bool(bodies) and all(bodies)
        limit = MAX_HEADER if path.suffix in (".h", ".cuh") and not inline else MAX_FILE
        count = text.count("\n")
        if count > limit:
            yield f"{path}: {count} lines, at most {limit}"
        for line, name, lines, parameters, nesting in functions(text):
            if lines > MAX_FUNCTION:
                yield f"{path}:{line}: {name} has {lines} lines, at most {MAX_FUNCTION}"
            if parameters > MAX_PARAMETERS:
                yield f"{path}:{line}: {name} has {parameters} parameters, at most {MAX_PARAMETERS}"
            if nesting > MAX_NESTING:
                yield f"{path}:{line}: {name} nests {nesting} deep, at most {MAX_NESTING}"
    for path in walk((".py", ".sh", ".cmake")):
        count = read(path).count("\n")
        if count > MAX_FILE:
            yield f"{path}: {count} lines, at most {MAX_FILE}"


def check_marks():
    me = pathlib.Path(__file__).resolve().relative_to(ROOT)
    texts = walk((".c", ".h", ".cu", ".cuh", ".py", ".sh", ".cmake", ".txt", ".yaml", ".yml", ".md",
                  ".supp", "run"))
    for path in texts:
        lines = read(path).splitlines()
        if path.suffix not in (".md", ".txt", ".yaml", ".yml") or path.name == "CMakeLists.txt":
            if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:2]):
                yield f"{path}:1: no SPDX-License-Identifier: Apache-2.0 line"
        for number, line in enumerate(lines, 1):
            if path != me and re.search(r"\b(TODO|FIXME|XXX)\b", line):
                yield f"{path}:{number}: unfinished: {line.strip()}"
            if re.search(r"[ \t]+$", line):
                yield f"{path}:{number}: blanks at the end of the line"
            for match in re.finditer(r"(?:^|[\s=(`,:]['\"]?)/([A-Za-z][\w.-]+)/\w", line):
                if match.group(1) not in SYSTEM_PATHS:
                    yield f"{path}:{number}: a path of one machine: {line.strip()}"


def check_words():
    for path in code():
        for number, line in enumerate(bare(read(path)).splitlines(), 1):
            for pattern, folders, why in WORDS:
                if path.parts[0] not in folders or not re.search(pattern, line):
                    continue
                if "stderr" in pattern and str(path) in STDERR_DOORS:
                    continue
                if "exit" in pattern and str(path) in EXIT_DOORS:
                    continue
                yield f"{path}:{number}: {line.strip()}: {why}"


def check_globals(build):
    """No mutable global below launch/: a rank is an object. Exceptions are named with a reason."""
    allowed = {}
    for line in read(pathlib.Path("tests/lint/globals.txt")).splitlines():
        if line.strip() and not line.startswith("#"):
            source, symbol, reason = line.split(None, 2)
            allowed[source, symbol] = reason
    found, used = 0, set()
    for target in sorted((build / "CMakeFiles").glob("tri*.dir")):
        for path in sorted(target.glob("**/*.o")):
            source = str(path.relative_to(target))[:-2]
            if not source.startswith(LIBRARY):
                continue
            found += 1
            if not (ROOT / source).is_file():
                continue  # an object of a file that is gone
            table = subprocess.run(["objdump", "-t", str(path)], check=True, capture_output=True,
                                   text=True).stdout
            for line in table.splitlines():
                match = re.match(r"[0-9a-f]+ .{7} (\.\S+)\s+([0-9a-f]+)\s+(?:\.\w+ )?(\S+)$", line)
                if not match or int(match.group(2), 16) == 0:
                    continue
                section, symbol = match.group(1), match.group(3).split(".")[0]
                if not re.match(r"\.(data|bss|tdata|tbss)(\.|$)", section) or ".rel.ro" in section:
                    continue
                if (source, symbol) in allowed:
                    used.add((source, symbol))
                else:
                    yield f"{source}: {symbol} is a mutable global ({section}); a rank is an object"
    if not found:
        yield f"{build}: no object files"
    for source, symbol in sorted(set(allowed) - used):
        yield f"tests/lint/globals.txt: {source} has no {symbol} any more"


def tool(name):
    """The command of version 14, or None."""
    for command in (f"{name}-14", name):
        try:
            text = subprocess.run([command, "--version"], capture_output=True, text=True).stdout
        except FileNotFoundError:
            continue
        if re.search(r"version 14\.", text):
            return command
    return None


def check_format():
    command = tool("clang-format")
    if not command:
        yield "clang-format 14 is not installed"
        return
    run = subprocess.run([command, "--dry-run", "-Werror", *map(str, code())], cwd=ROOT,
                         capture_output=True, text=True)
    for line in run.stderr.splitlines():
        if "error:" in line:
            yield line.replace("code should be clang-formatted [-Wclang-format-violations]",
                               f"not formatted: {command} -i FILE")


def check_tidy(build):
    """clang-tidy over the program's sources, with this build's own flags."""
    yield from tidy(build, CODE_FOLDERS[:CODE_FOLDERS.index("tests")])


def check_tidy_tests(build):
    """The same over the tests."""
    yield from tidy(build, ("tests",))


def tidy(build, folders):
    command = tool("clang-tidy")
    if not command:
        yield "clang-tidy 14 is not installed"
        return
    entries = json.loads((build / "compile_commands.json").read_text())
    # a source that is compiled for several instruction sets is read once, for the last
    commands = {e["file"]: e for e in entries
                if pathlib.Path(e["file"]).relative_to(ROOT).parts[0] in folders}
    place = build / f"tidy-{folders[0]}"
    place.mkdir(exist_ok=True)
    (place / "compile_commands.json").write_text(json.dumps(list(commands.values())))

    def one(path):
        run = subprocess.run([command, "-p", str(place), "--quiet", "--extra-arg=-Wno-everything",
                              path], cwd=ROOT, capture_output=True, text=True)
        return [line.replace(str(ROOT) + "/", "") for line in run.stdout.splitlines()
                if re.search(r": (error|warning): ", line)]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = set()
        for lines in pool.map(one, sorted(commands)):
            for line in lines:
                if line not in seen:  # a header's finding comes once per file that includes it
                    seen.add(line)
                    yield line


def main():
    checks = {name[len("check_"):]: function for name, function in globals().items()
              if name.startswith("check_")}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("check", choices=sorted(checks))
    parser.add_argument("--build", help="build folder (globals, tidy, tidy_tests)")
    arguments = parser.parse_args()
    if arguments.check in ("globals", "tidy", "tidy_tests"):
        if not arguments.build:
            parser.error(f"{arguments.check} needs --build")
        findings = checks[arguments.check](pathlib.Path(arguments.build).resolve())
    else:
        findings = checks[arguments.check]()
    count = 0
    for finding in findings:
        print(finding)
        count += 1
    print(f"{arguments.check}: {count} finding{'' if count == 1 else 's'}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
