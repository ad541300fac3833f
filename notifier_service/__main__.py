"""``python -m notifier_service``"""

import os
import sys

# Python puts the folder it is started in first: a file there with the name of a module would run in its place.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
