"""Compiles C# with Roslyn's libraries on the runtime of PyPI's ``dotnetcore2``: for machines without a .NET SDK.

Run by the Python of the environment of ``requirements.txt``::

    python tests/csharp/compiler.py --roslyn DIR --out x.dll --kind library|console [--reference a.dll] FILE...

Every warning is an error. Exit code 1, with the compiler's words, when there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

LANGUAGE = "CSharp10"
"""The highest that the client may use."""
FRAMEWORK = "3.1.0"
MANAGED = ("System.", "Microsoft.", "netstandard", "mscorlib")
"""How the names of the framework's libraries begin; what is beside them is machine code."""
BINDING = ("CS1701", "CS1702")
"""The runtime's own libraries name older versions of each other."""


def runtime() -> Path:
    """The folder of the .NET runtime that the package carries."""
    import dotnetcore2

    return Path(dotnetcore2.__file__).parent / "bin"


def configuration() -> dict[str, Any]:
    """What a program's ``.runtimeconfig.json`` says."""
    framework = {"name": "Microsoft.NETCore.App", "version": FRAMEWORK}
    settings = {"System.Globalization.Invariant": True}
    return {"runtimeOptions": {"tfm": "netcoreapp3.1", "framework": framework, "configProperties": settings}}


def start(roslyn: Path, scratch: Path) -> None:
    """Begin the runtime in this process, with Roslyn in it."""
    os.environ["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"] = "1"
    import clr_loader
    import pythonnet

    (runtime() / "dotnet").chmod(0o755)  # a wheel's file that pip does not always leave executable
    settings = scratch / "compiler.runtimeconfig.json"
    settings.write_text(json.dumps(configuration()))
    pythonnet.set_runtime(clr_loader.get_coreclr(runtime_config=str(settings), dotnet_root=str(runtime())))
    import clr

    sys.path.insert(0, str(roslyn))
    clr.AddReference("Microsoft.CodeAnalysis")
    clr.AddReference("Microsoft.CodeAnalysis.CSharp")


def compile_to(
    out: Path,
    files: list[Path],
    references: list[Path],
    *,
    console: bool,
    strict: bool = True,
    unsafe: bool = False,
    symbols: tuple[str, ...] = (),
) -> list[str]:
    """Compile; what was wrong, empty when ``out`` is there."""
    from Microsoft.CodeAnalysis import (
        DiagnosticSeverity,
        DocumentationMode,
        FileSystemExtensions,
        MetadataReference,
        NullableContextOptions,
        OutputKind,
        SyntaxTree,
    )
    from Microsoft.CodeAnalysis.CSharp import (
        CSharpCompilation,
        CSharpCompilationOptions,
        CSharpParseOptions,
        CSharpSyntaxTree,
        LanguageVersion,
    )
    from Microsoft.CodeAnalysis.Text import SourceText
    from System import Array, String
    from System.Text import Encoding

    parse = CSharpParseOptions(getattr(LanguageVersion, LANGUAGE))
    if strict and not console:
        parse = parse.WithDocumentationMode(DocumentationMode.Diagnose)
    parse = parse.WithPreprocessorSymbols(Array[String](list(symbols)))
    trees = [
        CSharpSyntaxTree.ParseText(SourceText.From(one.read_text("utf-8-sig"), Encoding.UTF8), parse, str(one))
        for one in files
    ]
    folder = next((runtime() / "shared" / "Microsoft.NETCore.App").iterdir())
    framework = [one for one in folder.glob("*.dll") if one.name.startswith(MANAGED)]
    metadata = [MetadataReference.CreateFromFile(str(one)) for one in (*framework, *references)]
    kind = OutputKind.ConsoleApplication if console else OutputKind.DynamicallyLinkedLibrary
    options = CSharpCompilationOptions(kind).WithAllowUnsafe(unsafe)
    if strict:
        options = options.WithNullableContextOptions(NullableContextOptions.Enable)
    compilation = CSharpCompilation.Create(
        out.stem, Array[SyntaxTree](trees), Array[MetadataReference](metadata), options
    )
    emitted = FileSystemExtensions.Emit(compilation, str(out))
    least = DiagnosticSeverity.Warning if strict else DiagnosticSeverity.Error
    wrong = [str(one) for one in emitted.Diagnostics if one.Severity >= least and one.Id not in BINDING]
    if wrong:
        out.unlink(missing_ok=True)
    elif console:
        out.with_suffix(".runtimeconfig.json").write_text(json.dumps(configuration()))
    return wrong


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--roslyn", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=("library", "console"), required=True)
    parser.add_argument("--reference", type=Path, action="append", default=[])
    parser.add_argument("--define", action="append", default=[])
    parser.add_argument("--foreign", action="store_true", help="another project's source")
    parser.add_argument("files", type=Path, nargs="+")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    start(asked.roslyn, asked.out.parent)
    wrong = compile_to(
        asked.out,
        asked.files,
        asked.reference,
        console=asked.kind == "console",
        strict=not asked.foreign,
        unsafe=asked.foreign,
        symbols=tuple(asked.define),
    )
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
