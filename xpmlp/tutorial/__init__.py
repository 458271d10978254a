"""The runs of the tutorial that xpmlp comes from: XOR, exploding training, pictures.

All of them call ``MLP.fit``; callbacks record what is shown.
"""
