"""Side-by-side measurements. Ratios within one interleaved run count; absolute times do not."""
