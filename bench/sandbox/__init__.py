"""How much the sandbox node carries: USDT transfers in blocks, and calls meanwhile."""
