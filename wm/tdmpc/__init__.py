"""The reward-driven world model of TD-MPC2 and its learner."""
