"""`make bench`: how long things take, measured side by side. Figures go to docs/performance.md."""
