"""MJX simulators as a vector environment: the host's view of what `envs.mjx.pure` does purely.

A program that steps simulators inside jit takes `pure` and `state`, and puts `state` back.
"""

from functools import partial
from typing import Any

import numpy as np

from envs.mjx.pure import BANK, Impl, Pure, State, Step, make_pure
from envs.spec import EnvError
from envs.vector import Arrays, Begun, Options, Seed, SimulatorVectorEnv, Stepped, checked_state

_TOLERANCE = 1e-3


def make_mjx(
    env_id: str, num_envs: int, action_repeat: int = 2, impl: Impl = "jax", bank_size: int = BANK
) -> "MjxVectorEnv":
    """Simulators of a native task on MJX. Raises UnknownTaskError, or EnvError if it cannot."""
    return MjxVectorEnv(make_pure(env_id, action_repeat, impl, bank_size), num_envs)


class MjxVectorEnv(SimulatorVectorEnv):
    """`num_envs` simulators on MJX, under the contract of `envs.vector`.

    Attributes:
        pure: reset and step of one simulator.
        state: all of them, an `envs.mjx.pure.State` with leading axis E.
        advance: the jitted step over all, (state, actions [E, A]) -> (state, Step).
    """

    def __init__(self, pure: Pure, num_envs: int) -> None:
        import jax

        super().__init__(pure.spec, num_envs)
        self.pure = pure
        self.advance = jax.jit(jax.vmap(pure.step))
        self.state: Any = None

    def reset(self, *, seed: Seed = None, options: Options = None) -> Begun:
        """Start a new episode everywhere; a part cannot be reset alone.

        Without a seed the random streams go on. Raises EnvError for a mask of a part, or where MJX
        observes starts otherwise than native simulators.
        """
        import jax
        import jax.numpy as jnp

        if not self._chosen(options).all():
            raise EnvError("simulators on MJX reset all together; a part was asked for")
        if self.state is None or seed is not None:
            self.state = jax.jit(jax.vmap(self.pure.begin))(self._keys(seed))
        self.state = self.state._replace(pending=jnp.ones(self.num_envs, bool))
        actions = jnp.zeros((self.num_envs, self.env_spec.action_dim), jnp.float32)
        self.state, out = self.advance(self.state, actions)
        self._obs = obs = self._host(out).obs
        self._check_starts(obs)
        return obs.copy(), self._info(np.zeros(self.num_envs, bool), np.ones(self.num_envs, bool))

    def _keys(self, seed: Seed) -> Any:
        """One key a simulator; a list gives each what a single one has with that seed."""
        import jax

        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if isinstance(seed, int | np.integer):
            key = jax.random.key(int(seed))
            return jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(self.num_envs))
        if len(seed) != self.num_envs or any(s is None for s in seed):
            raise EnvError(f"{len(seed)} seeds for {self.num_envs} simulators; expected one each")
        keys = [jax.random.fold_in(jax.random.key(int(s or 0)), 0) for s in seed]
        return jax.numpy.stack(keys)

    def _check_starts(self, obs: np.ndarray) -> None:
        """MJX leaves out, in silence, sensors that it does not know."""
        bank = self.pure.bank["obs"]
        off = np.abs(obs[:, None] - bank[None]).max(-1).min(1)
        if off.max() > _TOLERANCE * (1 + np.abs(bank).max()):
            raise EnvError(
                f"{self.env_spec.env_id} cannot run on MJX, which observes its starts otherwise "
                f"than MuJoCo (by {off.max():.2g}): its model uses a sensor that MJX lacks; use "
                "--backend native"
            )

    def step(self, actions: Any) -> Stepped:
        """One decision with actions [E, A] in [-1, 1]; clipped to it."""
        self._last_obs("step")
        self.state, out = self.advance(self.state, self.check_actions(actions).astype(np.float32))
        out = self._host(out)
        self._obs = out.obs
        info = self._info(out.invalid, out.is_reset)
        return out.obs.copy(), out.reward, out.terminated, out.truncated, info

    def _host(self, out: Step) -> Step:
        """The same on the host, numbers in float64."""
        parts = [np.array(x) for x in out]
        return Step(*[x.astype(np.float64) if x.dtype.kind == "f" else x for x in parts])

    def get_state(self) -> Arrays:
        """Everything that decides the future."""
        self._last_obs("get_state")
        return {name: np.array(_plain(leaf)) for name, leaf in self._leaves().items()}

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave."""
        import jax

        if self._obs is None:
            self.reset(seed=0)
        state, restored = checked_state(state, self.get_state()), []
        for name, mine in self._leaves().items():
            value = jax.numpy.asarray(state[name])
            restored.append(value if _plain(mine) is mine else jax.random.wrap_key_data(value))
        self.adopt(jax.tree.unflatten(jax.tree.structure(self.state), restored))

    def adopt(self, state: State) -> None:
        """Go on from the state that a program has stepped."""
        self.state = state
        self._obs = np.array(state.obs, np.float64)

    def _leaves(self) -> dict[str, Any]:
        """The state's arrays by a name that is a file name too."""
        import jax

        name = partial(jax.tree_util.keystr, simple=True, separator=".")
        return {name(path): leaf for path, leaf in jax.tree.leaves_with_path(self.state)}

    def _picture(self, index: int, height: int, width: int) -> np.ndarray:
        raise EnvError("simulators on MJX cannot be rendered; evaluate with --backend native")


def _plain(leaf: Any) -> Any:
    """The numbers behind a random key; any other array as it is."""
    import jax

    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
