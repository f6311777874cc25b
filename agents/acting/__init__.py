"""From observations to actions for many simulators at once: the agent and the oracle."""
