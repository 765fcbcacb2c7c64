"""`python -m esrffs` is `esrffs`."""

import sys

from esrffs.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
