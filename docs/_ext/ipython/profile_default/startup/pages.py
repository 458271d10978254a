"""Each page's kernel starts with this: the build's folder, and pictures as the site wants them."""

import os
import sys
import warnings

import matplotlib
from IPython import get_ipython

os.chdir(os.environ["XPMLP_DOCS_WORK"])
get_ipython().run_line_magic("config", "InlineBackend.figure_formats = ['svg']")
matplotlib.rcParams |= {
    "figure.figsize": (6.4, 3.2),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "xpmlp",  # the same picture has the same bytes
}
for stream in (sys.stdout, sys.stderr):
    stream.flush_interval = 1e6  # seconds: what a cell prints is one piece, however long it takes
warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"
warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, which Optuna imports
