"""Network dissection: which concept each unit of a network points at, and whether it still does under attack."""
