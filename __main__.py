"""`python FOLDER ARGS…`: the command line, whatever the folder is called."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parent


def _main() -> int:
    # Python has put the folder itself first on the path, where `jobs` or `formats` could hide other packages.
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).absolute() != ROOT]
    spec = importlib.util.spec_from_file_location("maquette", ROOT / "__init__.py",
                                                  submodule_search_locations=[str(ROOT)])
    assert spec and spec.loader
    package = importlib.util.module_from_spec(spec)
    sys.modules["maquette"] = package
    spec.loader.exec_module(package)
    from maquette.cli import main
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_main())
