"""Clusters, nodes, logins and secrets."""
