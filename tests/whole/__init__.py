"""Proofs on all of WebOps at once, with one world for all of them."""
