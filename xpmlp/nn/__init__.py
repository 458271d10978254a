"""The mathematics, in the array API standard; no array library is imported here."""
