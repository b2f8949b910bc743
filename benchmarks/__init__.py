"""The numbers of docs/results: what the attack reaches on real networks, and what it costs beside other libraries."""
