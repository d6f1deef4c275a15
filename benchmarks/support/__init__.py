"""What the benchmarks of parent and children share: a fleet, its load, servers on one core."""
