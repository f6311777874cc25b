"""The simulation in a browser (viser, extra [viewer]): robot, plans, settings, latency."""

import contextlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from agents.deployment.bundle.load import open_path
from agents.deployment.origin import guarded, is_loopback
from agents.deployment.viewer.config import PlayConfig
from agents.deployment.viewer.play import Player
from agents.evaluation.stored_task import settle
from agents.runs.config import ConfigError
from envs.native import scene
from envs.tasks.engine import engine

UNUSED = ("ShareUrlRequest", "ShareUrlDisconnect", "FileTransferStartUpload", "FileTransferPart")
"""Messages of a browser that viser would answer: for a public address, files."""
NO_PATH = np.zeros((1, 3))
LINES = {"mean": (255, 120, 0), "sample": (0, 150, 255)}
TEXT_EVERY = 0.2
"""Seconds between updates of the text."""


SLIDERS = {
    "horizon": (1, 24, 1),
    "num_samples": (16, 512, 16),
    "num_iterations": (1, 10, 1),
    "temperature": (0.1, 10.0, 0.1),
    "min_std": (0.01, 0.5, 0.01),
}
"""Settings of the planner: lowest, highest, step. Each change compiles, in the background."""


class Slider(NamedTuple):
    """Range, step and first value of a slider: all that a browser can set."""

    low: float
    high: float
    step: float
    first: float

    def read(self, given: Any) -> float:
        """The nearest value that the slider shows; the first one for what is no number."""
        if isinstance(given, bool) or not isinstance(given, int | float) or given != given:
            return self.first
        given = min(max(given, self.low), self.high)
        if given == self.first:
            return self.first
        shown = self.low + self.step * round((given - self.low) / self.step)
        return type(self.first)(round(min(shown, self.high), 6))


def play(
    config: PlayConfig,
    log: Callable[[str], None] = print,
    opened: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the viewer until Ctrl-C or `config.seconds`; `opened` is told its address.

    Raises ConfigError, CheckpointError, EnvError.
    """
    trained = open_path(config.path).trained
    settle(trained.path, trained.config.env_id, config.env_id)
    planner = config.planner.apply(trained.config.planner)
    log(f"compiling the planner for {config.env_id or trained.config.env_id} ...")
    player = Player(trained, config.env_id, planner=planner, mode=config.mode, seed=config.seed)
    with contextlib.closing(player):
        viewer = Viewer(player, config)
        url = f"http://{config.host}:{viewer.server.get_port()}"
        log(f"watch it at {url} (Ctrl-C ends)")
        if not is_loopback(config.host):
            log(f"whoever reaches {config.host} can watch, pause and change settings")
        opened(url)
        viewer.run(config.seconds)


class Viewer:
    """A browser's view of a player.

    What comes from the browser is read as what the controls show (`Slider.read`).
    """

    def __init__(self, player: Player, config: PlayConfig):
        """Open the port and build scene and controls. Raises ConfigError."""
        import viser
        from viser import _messages

        self.player = player
        self.model, data = self._physics()
        try:
            # Its banner is always printed.
            with contextlib.redirect_stdout(io.StringIO()), guarded(config.host):
                self.server = viser.ViserServer(config.host, config.port, "latentmpc", False)
        except OSError as error:
            where = f"{config.host}:{config.port}"
            raise ConfigError(f"cannot listen on {where} ({error.strerror or error})") from error
        for name in UNUSED:
            self.server._websock_server.unregister_handler(getattr(_messages, name))
        self.server.gui.configure_theme(show_share_button=False, show_logo=False)
        self._build_scene(data)
        self._build_controls(config)
        self.draw()

    def _physics(self) -> tuple[Any, Any]:
        mujoco = engine()
        model, data = scene.physics_of(self.player.env)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        return model, data

    def _build_scene(self, data: Any) -> None:
        add, view = self.server.scene, scene.view(self.model, data)
        add.set_up_direction(tuple(view.up) if abs(view.up[2]) < 0.5 else "+z")
        camera = self.server.initial_camera
        camera.position, camera.look_at = view.position, view.look_at
        camera.up, camera.fov = view.up, view.field
        self._follows, self._from = view.follows, self._middle(data)
        self._world = add.add_frame("/world", show_axes=False)
        self._nodes = {s.geom: self._node(s) for s in scene.shapes(self.model)}
        self._lines: dict[str, Any] = {}

    def _node(self, shape: scene.Shape) -> Any:
        name, add = f"/world/{shape.name}", self.server.scene
        if shape.mesh is None:
            x, y = (2 * size for size in shape.half_size)
            look = {"plane_color": shape.color, "plane_opacity": 0.4}
            return add.add_grid(name, x, y, cell_size=0.25, **look)
        vertices = np.asarray(shape.mesh.vertices, np.float32)
        faces = np.asarray(shape.mesh.faces, np.uint32)
        opacity = None if shape.opacity == 1 else shape.opacity
        look = {"color": shape.color, "opacity": opacity, "flat_shading": len(faces) < 100}
        return add.add_mesh_simple(name, vertices, faces, **look)

    def _build_controls(self, config: PlayConfig) -> None:
        gui = self.server.gui
        self.text = gui.add_markdown("")
        self.pause = gui.add_checkbox("Pause", False)
        gui.add_button("Reset").on_click(self._ask_reset)
        self.sliders: dict[str, Any] = {}
        self._shown: dict[str, Slider] = {}
        self._add_slider("Speed", 0.05, 10.0, 0.05, float(config.speed))
        self._add_slider("Noise on actions", 0.0, 1.0, 0.01, 0.0)
        with gui.add_folder("Planned path (true model)"):
            self.show = gui.add_checkbox("Show", True)
            self._bodies = scene.bodies(self.model)
            self.body = gui.add_dropdown("Of body", self._bodies)
        with gui.add_folder("Planner (compiles in the background)"):
            self.mode = gui.add_dropdown("Mode", ("plan", "prior"), initial_value=config.mode)
            for name, (low, high, step) in SLIDERS.items():
                first = getattr(self.player.ready.planner, name)
                self._add_slider(name, low, high, step, first)
        for handle in (self.mode, *(self.sliders[name] for name in SLIDERS)):
            handle.on_update(lambda _: self.configure())
        self._reset_asked = False

    def _add_slider(self, name: str, low: float, high: float, step: float, first: float) -> None:
        shown = Slider(min(low, first), max(high, first), step, first)
        self._shown[name] = shown
        add = self.server.gui.add_slider
        self.sliders[name] = add(name, shown.low, shown.high, step, initial_value=first)

    def _number(self, name: str) -> float:
        return self._shown[name].read(self.sliders[name].value)

    def _ask_reset(self, _: Any) -> None:
        self._reset_asked = True

    def configure(self) -> None:
        """Hand the settings in the browser to the player, or say what is wrong with them."""
        chosen: dict[str, Any] = {name: self._number(name) for name in SLIDERS}
        base = self.player.ready.planner
        most = int(chosen["num_samples"])
        chosen["num_elites"] = min(base.num_elites, most)
        chosen["num_prior_samples"] = min(base.num_prior_samples, most - 1)
        try:
            planner = replace(base, **chosen)
        except ValueError as error:
            return self.player.refuse(str(error))
        return self.player.configure(planner, "prior" if self.mode.value == "prior" else "plan")

    def run(self, seconds: float = 0.0) -> None:
        """Decide and draw on absolute deadlines; after a slow decision the next comes at once."""
        began = due = time.monotonic()
        shown = 0.0
        while not seconds or time.monotonic() < began + seconds:
            if self._reset_asked:
                self._reset_asked = False
                self.player.reset()
                self.draw()
            if not self.pause.value:
                self.advance()
            if time.monotonic() - shown > TEXT_EVERY:
                shown = time.monotonic()
                self.text.content = self.player.summary()
            period = self.player.period / self._number("Speed")
            due = max(due + period, time.monotonic() - period)
            time.sleep(max(due - time.monotonic(), 0.0))

    def advance(self) -> None:
        """One decision, with its plan drawn from where it was made."""
        self.player.noise = self._number("Noise on actions")
        action = self.player.decide()
        known = self.body.value in self._bodies
        body = self.model.body(self.body.value if known else self._bodies[0]).id
        foresee = self.player.foresee if self.show.value else lambda where: {}
        paths = foresee(lambda data: data.xpos[body])
        self.player.step(action)
        self.draw(paths)

    def _middle(self, data: Any) -> np.ndarray:
        return np.array(data.subtree_com[min(1, self.model.nbody - 1)])

    def draw(self, paths: Mapping[str, np.ndarray] = MappingProxyType({})) -> None:
        """Put everything where it is."""
        _, data = self._physics()
        with self.server.atomic():
            for geom, node in self._nodes.items():
                node.position, node.wxyz = scene.pose(data, geom)
            if self._follows:
                self._world.position = (self._from - self._middle(data)) * [1.0, 1.0, 0.0]
            for name, color in LINES.items():
                self._draw_line(name, paths.get(name, NO_PATH), color)

    def _draw_line(self, name: str, points: np.ndarray, color: tuple[int, int, int]) -> None:
        line = self._lines.get(name)
        segments = np.stack([points[:-1], points[1:]], 1).astype(np.float32)
        if line and line.points.shape == segments.shape:
            line.points = segments
        elif len(segments):
            node, width = f"/world/plan-{name}", 0.015 * float(self.model.stat.extent)
            add = self.server.scene.add_line_segments
            self._lines[name] = add(node, segments, color, thickness=width)
        elif line:
            self._lines.pop(name).remove()
