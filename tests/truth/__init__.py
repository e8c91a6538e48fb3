"""Does arimon's account of each call agree with Asterisk's own (CEL and CDR)? An independent checker.

Nothing here imports actors.call: `oracle` reads what Asterisk wrote, `account` reads what was published, `checker`
compares them fact by fact, `report` prints the table. Only the command line and the tests run a replay.

    python -m tests.truth [NAME…]                       replay recordings and check them
    python -m tests.truth NAME --messages FILE          check messages (JSON lines, `-` for stdin) made elsewhere
"""
