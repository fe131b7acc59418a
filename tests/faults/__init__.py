"""Runs under attack: real workers, a real Redis, real Ansible; processes die, connections break, values are hostile."""
