"""Measurements behind the README's figures; records of them lie in results/."""
