"""`--local`: the same words and the same playbooks, with inventory/ instead of a panel."""
