"""Whether a set that is larger than its bound is cleaned within it, to the same bytes, whoever does the work.

made rows of so many MB --`tuneloop clean`, clean.memory_mb--> peak memory of all its processes, hashes of its tables
"""
