"""One training over devices and processes, or several trainings in one program."""
