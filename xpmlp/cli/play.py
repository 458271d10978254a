"""``xpmlp play``: the page on which a network learns before one's eyes."""

import sys
import warnings
import webbrowser
from argparse import Namespace
from threading import Thread

from xpmlp.cli.output import Output
from xpmlp.errors import InvalidValueError, require


def run(options: Namespace) -> None:
    """Serve the page until Ctrl-C.

    Raises
    ------
    MissingExtraError
        If the extra ``web`` is not installed.
    InvalidValueError
        If the port cannot be used.
    """
    for module in ("starlette", "uvicorn"):
        require(module, extra="web", purpose="the page")
    from xpmlp.play import serve

    port = options.port
    if port is not None and not 0 <= port < 2**16:
        raise InvalidValueError(f"--port: found {port}; expected a number from 0 to 65535")
    listening = serve.bound(port)
    address = f"http://{serve.HOST}:{listening.getsockname()[1]}/"
    out = Output()
    out.say(f"the page: {address} (Ctrl-C ends it)")
    sys.stdout.flush()  # now, where it is no terminal
    warnings.simplefilter("ignore")  # the page shows what is wrong with a run
    if not options.no_browser:
        Thread(target=webbrowser.open, args=[address], daemon=True).start()
    try:
        serve.server(listening).run(sockets=[listening])
    except KeyboardInterrupt as error:
        if type(error) is not KeyboardInterrupt:  # SIGTERM's
            raise
        out.say("the page has ended")
