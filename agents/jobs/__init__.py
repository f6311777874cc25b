"""Many independent points, one worker function, results kept by key: here, on Ray or on SLURM.

A point is a JSON-ready dict, a worker is named "module:function" and maps a point to a JSON-ready
dict. Reading order: store (what is kept), worker (what one process does with one point), run (the
queue, retries and order), then one way of running them a file: local, ray_cluster, slurm.
"""
