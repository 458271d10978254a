"""The tutorial that xpmlp comes from, as runs one can repeat: XOR, explosions, pictures.

Every training here is a call of ``MLP.fit``; what is shown is recorded by callbacks.
"""
