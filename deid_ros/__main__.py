"""``python -m deid_ros`` is ``deid``."""

import sys

from deid_ros.cli import main

if __name__ == "__main__":
    sys.exit(main())
