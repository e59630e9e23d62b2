"""What the server of worker processes imports first: Ctrl-C ends it while it imports the rest, without a traceback.

The parent says what was interrupted. Workers inherit this until they begin (see `processes`).
"""

import signal
import sys

if any("multiprocessing.forkserver" in part for part in sys.orig_argv):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
