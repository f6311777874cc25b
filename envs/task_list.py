"""Several tasks as one id: `multi:a,b,c`, and `multi:a,b,c@b` for task b as that model sees it.

Imports nothing heavy, so that flags can be checked at once.
"""

from envs.spec import EnvError

PREFIX, VIEW, OGBENCH = "multi:", "@", "ogbench:"


class TaskListError(EnvError):
    """A list of tasks that cannot be learned together; shown as one line."""

    exit_code = 2


def multi_id(tasks: str) -> str:
    """The id of tasks given as `a,b,c`. Raises TaskListError: fewer than two, or one twice."""
    names = [name.strip() for name in tasks.split(",")]
    if len(names) < 2 or "" in names:
        raise TaskListError(
            f"tasks are two or more ids with commas between them, such as "
            f"cartpole-swingup,pendulum-swingup; got {tasks!r}"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise TaskListError(f"task {twice[0]} is given twice in {tasks!r}: give each task once")
    if nested := [name for name in names if name.startswith(PREFIX) or VIEW in name]:
        raise TaskListError(f"{nested[0]!r} in {tasks!r} is no single task")
    return PREFIX + ",".join(names)


def task_names(env_id: str) -> tuple[str, ...]:
    """The tasks that an id stands for, in order; empty for the id of a single task."""
    if not env_id.startswith(PREFIX):
        return ()
    listed = env_id.removeprefix(PREFIX).partition(VIEW)[0]
    return tuple(multi_id(listed).removeprefix(PREFIX).split(","))


def shown_tasks(env_id: str) -> tuple[str, ...]:
    """The tasks of an id that have simulators: all of them, or the one after `@`."""
    names, view = task_names(env_id), env_id.partition(VIEW)[2]
    if view and view not in names:
        raise TaskListError(f"{view!r} is not among the tasks {', '.join(names)}")
    return (view,) if view else names


def view_id(env_id: str, task: str) -> str:
    """The id of one task as a model of several sees it."""
    return f"{env_id.partition(VIEW)[0]}{VIEW}{task}"
