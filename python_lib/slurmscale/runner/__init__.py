"""Runs Ansible, or replays recorded events, and ends what was started."""
