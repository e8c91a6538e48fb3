"""Who restarts whom: OTP's supervisors as a pure machine, and the actors and processes around it."""

import logging

# Thespian looks its host's name up at import and warns on standard error, before any log is set up, where that fails.
# Nothing here needs the name: all of it listens on loopback (supervision.frames).
logging.getLogger().addHandler(logging.NullHandler())
