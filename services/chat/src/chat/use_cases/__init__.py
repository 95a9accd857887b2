"""What chat does, a module per verb. Each reads load → decide → save → one commit."""
