"""`python -m unbuffer`, for hosts where another package's command is called unbuffer too."""

import sys

from unbuffer.cli import main

sys.exit(main())
