"""The composition: collect, learn, plan, act; and what comes of it."""
