"""Turns Ansible's events into the progress of every node."""
