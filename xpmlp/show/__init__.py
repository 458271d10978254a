"""How things are shown: in lines, in tables, in pictures."""
