"""`python -m interp_plugins`: the command line, in the environment of this very Python."""

import sys

from interp_plugins.cli import main

sys.exit(main())
