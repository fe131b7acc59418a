"""Long proofs with many repetitions: `make soak`. docs/soak.md has the figures."""
