"""Simulators: native batches of MuJoCo tasks and adapters, behind one vectorised contract."""
