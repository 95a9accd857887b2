"""What payments costs: node calls, rows read, speed of catching up, delay, memory; `python -m bench.paying`."""
