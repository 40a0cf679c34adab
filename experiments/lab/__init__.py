"""What the experiments share: options and run folder, claims, the lesson's network, and the larger figures.

Every script imports from here first. Where the packages are missing that the experiments need beside the library, it
ends there in one sentence: each of its next lines could be the import that fails.
"""

import sys
from importlib.util import find_spec

NEEDED = ("jaxprop", "matplotlib", "tyro", "PIL", "scipy", "sklearn", "requests", "tensorflow_datasets")

if missing := [package for package in NEEDED if find_spec(package) is None]:
    given = f"the experiments need {', '.join(missing)}, not installed beside {sys.executable}"
    print(f"error: {given}; start them with `uv run`, which brings all that they need", file=sys.stderr)
    raise SystemExit(2)
