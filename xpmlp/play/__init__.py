"""``xpmlp play``: a page on which a network learns before one's eyes.

A server for the own machine: it trains with ``xpmlp.MLP.fit`` in a thread for each user, and the
page in ``static`` asks it for frames. The formulas are those of the library.
"""
