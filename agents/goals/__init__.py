"""Planning to goals: critic, policy, agent, and success on goals that are held out."""
