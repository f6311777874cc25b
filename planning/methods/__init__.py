"""One planner a page."""
