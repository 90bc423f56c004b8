"""Research: baselines under the same protocol, and the paper's tables and figures."""
