"""What an error of the operating system says, for people."""

import os
import socket
import ssl


def said(error: Exception) -> str:
    """Why, in the system's words: `Connection refused`.

    asyncio words a failed connect itself (`Connect call failed ('127.0.0.1', 5672)`): where, which whoever tells the
    error says already, and not why. The numbers of TLS and of name resolution are their own.
    """
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
