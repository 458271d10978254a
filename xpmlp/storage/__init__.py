"""Files: written atomically, locked, checked when read; signals; the cache folder."""
