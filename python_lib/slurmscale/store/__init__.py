"""The database: runs, tasks, logs, clusters and durations."""
