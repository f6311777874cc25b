"""The server: openpi's wire, a guard for each client, and nobody disturbed by anybody."""

import asyncio
import contextlib
import http.client
import importlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from agents.deployment.controller import Controller
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.realtime.config import RunConfig
from agents.deployment.realtime.simulator import Frame
from agents.deployment.serving import batching
from agents.deployment.serving.config import ServeConfig, token_of
from agents.deployment.serving.serve import run_server
from agents.deployment.serving.server import ControllerServer, describe
from agents.deployment.serving.stops import EStops, client_of
from agents.deployment.serving.wire import pack, unpack
from agents.runs.compile import counted
from agents.runs.config import ConfigError
from scripts.cli import main
from tests.soak import fuzz

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "how-to" / "serve.md"
CLIENT = ROOT / "docs" / "client.py"
NUMBERS = itertools.count()
TOKEN = "a token of some length"
FAULTS = [["finite"], ["shape"], ["stale", "reordered"], ["dtype"], []]
OBS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


@contextlib.contextmanager
def serving(controller, token="", **settings):
    """A server in a thread; (server, port)."""
    server = ControllerServer(controller, ServeConfig(port=0, **settings), token)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        _, port = asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
        with counted() as server.compilations:
            yield server, port
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def controller(tiny_run):
    safety = SafetyConfig(stop_after=4)
    return Controller.load(str(tiny_run), "prior", seed=3, safety=safety)


@pytest.fixture(scope="module")
def expected(tiny_run):
    """[12, 1] actions for OBS of a controller in this process."""
    alone = Controller.load(str(tiny_run), "prior", seed=3)
    return np.stack([alone.act(obs) for obs in OBS])


@pytest.fixture(scope="module")
def served(controller, expected):
    """A server for the tests that do not need one of their own."""
    settings = {"clients": 2, "seed": 3, "max_bad": 4, "max_bytes": 4096, "window_ms": 100.0}
    with serving(controller, **settings) as found:
        yield found
    assert found[0].metrics.total("errors") == 0


@pytest.fixture
def patient(monkeypatch):
    """On however slow a machine, who asked once is waited for."""
    monkeypatch.setattr(batching, "ABSENT_PERIODS", 1e6)


@contextlib.contextmanager
def client(port, name="", **headers):
    """A connected client, after the metadata; without a name it is one that was never here."""
    name = f"?client={name or f'new-{next(NUMBERS)}'}"
    for _ in range(100):  # whoever was here before may not have left yet
        try:
            connection = connect(
                f"ws://127.0.0.1:{port}/{name}", compression=None, additional_headers=headers
            )
            break
        except InvalidStatus as refused:
            if refused.response.status_code != 503:
                raise
            threading.Event().wait(0.02)
    else:
        raise AssertionError("no slot became free")
    with connection:
        connection.metadata = unpack(connection.recv())
        yield connection


def ask(connection, obs, **more):
    connection.send(pack({"obs": obs, **more}))
    return unpack(connection.recv(timeout=30))


def get(port, path, **headers):
    page = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    page.request("GET", path, headers=headers)
    answer = page.getresponse()
    found = answer.status, answer.read().decode()
    page.close()
    return found


def test_another_robot_is_sent_away_in_a_line(served):
    """By what its side states, alone or with an observation; in client.py it raises that line."""
    namespace = {}
    exec(CLIENT.read_text(), namespace)
    right = {"actuators": ["slide"], "joints": ["slider", "hinge_1"], "rate_hz": 50}
    with client(served[1]) as connection:
        about = connection.metadata["robot"]
        assert [a["name"] for a in about["actuators"]] == ["slide"]
        assert about["joints"][0] == {"name": "slider", "unit": "m", "low": -1.8, "high": 1.8}
        assert ask(connection, OBS[0], robot=right)["state"] == "ok"
        connection.send(pack({"obs": OBS[0], "robot": right | {"rate_hz": 100}}))
        said = str(connection.recv(timeout=30))
        assert "for another robot: it runs at 100 Hz, expected 50 Hz" in said
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=30)
    url = f"ws://127.0.0.1:{served[1]}/?client=other"
    with pytest.raises(RuntimeError, match="it has 2 actuators, expected 1: slide"):
        namespace["Client"](url, timeout=30.0, robot={"actuators": ["hip", "knee"]})


def test_a_client_gets_the_controllers_actions(served, controller, expected):
    """The same as a controller in this process, within rounding; again after a reset."""
    with client(served[1]) as connection:
        about = connection.metadata
        for _ in range(2):
            found = [ask(connection, obs, reset=i == 0)["actions"] for i, obs in enumerate(OBS)]
            np.testing.assert_allclose(np.concatenate(found), expected, atol=2e-4)
    assert about["protocol"] == "latentmpc/1" and about["obs"]["shape"] == [5]
    assert about["params_digest"] == controller.contract.params_digest
    assert about["period_s"] == 0.02
    assert found[0].shape == (1, 1) and found[0].dtype == np.float32


@pytest.mark.slow
def test_plans_are_those_of_a_controller_alone(tiny_run, patient):
    """Warm starts and noise are each client's own, in whichever slot it is planned for."""
    alone = Controller.load(str(tiny_run), "plan", seed=3)
    expected = np.stack([alone.act(obs) for obs in OBS])
    template = Controller.load(str(tiny_run), "plan", seed=3)
    with (
        serving(template, clients=2, seed=3, window_ms=100.0) as (server, port),
        client(port) as one,
        client(port) as two,
    ):
        found = []
        for i, obs in enumerate(OBS):
            if i % 3 == 0:
                two.send(pack({"obs": -obs}))
            found.append(ask(one, obs)["actions"])
            if i % 3 == 0:
                two.recv(timeout=30)
        np.testing.assert_allclose(np.concatenate(found), expected, atol=2e-4)
        assert server.compilations.count == 0 and server.batcher.sizes[2]


@pytest.mark.exact
def test_the_programs_of_a_known_bundle_are_served(tiny_bundle, patient):
    """To the last bit what `run` does with them, for two clients at once, compiled beforehand."""
    settings = {"mode": "prior", "seed": 3, "digest": tiny_bundle.digest}
    alone = Controller.load(tiny_bundle.path, **settings)
    expected = np.stack([alone.act(obs) for obs in OBS])
    template = Controller.load(tiny_bundle.path, **settings)
    with (
        serving(template, clients=2, seed=3, window_ms=100.0) as (server, port),
        client(port) as one,
        client(port) as two,
    ):
        assert one.metadata["programs"] is True
        for i, obs in enumerate(OBS):
            two.send(pack({"obs": obs}))
            np.testing.assert_array_equal(ask(one, obs)["actions"][0], expected[i])
            np.testing.assert_array_equal(unpack(two.recv(timeout=30))["actions"][0], expected[i])
        assert server.compilations.count == 0 and server.batcher.sizes[2]


def test_two_clients_are_planned_for_together_and_apart(served, patient):
    """Each gets what it gets alone, though one call computed both."""
    server, port = served
    with client(port) as connection:
        alone = [ask(connection, obs, reset=i == 0)["actions"] for i, obs in enumerate(OBS)]
        other = [ask(connection, -obs, reset=i == 0)["actions"] for i, obs in enumerate(OBS)]
    with client(port) as one, client(port) as two:
        for i, obs in enumerate(OBS):
            one.send(pack({"obs": obs}))
            two.send(pack({"obs": -obs}))
            found = [unpack(c.recv(timeout=30))["actions"] for c in (one, two)]
            np.testing.assert_allclose(found, [alone[i], other[i]], atol=2e-4)
    assert server.batcher.sizes[2] >= 1


def test_a_clients_faults_are_its_own(served):
    """NaN, wrong shapes and old observations stop one client; the other goes on. Re-arming."""
    with client(served[1]) as bad, client(served[1]) as good:
        before = ask(bad, OBS[0])["actions"]
        answers = [ask(bad, np.full(5, np.nan, np.float32))]
        np.testing.assert_array_equal(answers[0]["actions"], before)  # held within a tick
        answers += [ask(bad, np.zeros(3, np.float32)), ask(bad, OBS[1], age_s=5.0)]
        answers += [ask(bad, OBS[1].astype(np.int32)), ask(bad, OBS[1])]
        assert [a["faults"] for a in answers] == FAULTS
        states = ["hold", "hold", "fallback", "stopped", "stopped"]
        assert [a["state"] for a in answers] == states
        assert all(np.isfinite(a["actions"]).all() for a in answers)
        assert ask(good, OBS[0])["state"] == "ok"
        assert ask(bad, OBS[0], reset=True)["state"] == "stopped", "a reset is no re-arming"
        assert ask(bad, OBS[1], rearm=True)["state"] == "ok"


def stop(connection):
    """Bad observations until it is stopped."""
    while ask(connection, np.full(5, np.nan, np.float32))["state"] != "stopped":
        pass


def page(port, path="/healthz", **headers):
    return get(port, path, **headers)[1]


@pytest.mark.parametrize("name", ["arm", "@127.0.0.1"])
def test_a_stop_outlives_the_connection(served, name):
    """Named or known by its address: reconnecting and resetting re-arm nothing, others go on."""
    _, port = served
    known = name if name == "arm" else ""
    connect_as = lambda key="": client(port, f"{known}&key={key}")  # noqa: E731
    with connect_as() as first:
        key = first.metadata["key"]
        assert (first.metadata["client"], first.metadata["state"]) == (name, "ok")
        stop(first)
        assert f"{name} stopped until re-armed: 4 bad ticks in a row" in page(port)
        with connect_as() as second:  # while the first one is still there
            assert ask(second, OBS[0])["state"] == "stopped"
    with connect_as(key) as again:
        assert again.metadata["state"] == "stopped"
        for reset in (False, True):
            answer = ask(again, OBS[0], reset=reset)
            assert (answer["state"], answer["source"]) == ("stopped", "stop")
            np.testing.assert_array_equal(answer["actions"][0], again.metadata["action_safe"])
        assert "\nlatentmpc_latched_stops 1.0\n" in page(port, "/metrics")
        with client(port) as other:
            assert ask(other, OBS[0])["state"] == "ok"
        again.send(pack({"rearm": True}))
        assert unpack(again.recv(timeout=30))["state"] == "ok"
        assert ask(again, OBS[0])["state"] == "ok" and page(port) == "OK\n"
    with connect_as() as later:
        assert ask(later, OBS[0])["state"] == "ok"
    text = page(port, "/metrics")
    assert "\nlatentmpc_latched_stops 0.0\n" in text
    assert "latentmpc_stops_total" in text and 'rearms_total{by="client"}' in text


def test_a_stop_holds_for_all_connections_and_only_its_owner_leaves_it(served):
    """Who took the name later, or again without its key, is stopped too and re-arms nothing."""
    server, port = served
    with client(port, "twin") as first, client(port, "twin") as second:
        assert (bool(first.metadata["key"]), second.metadata["key"]) == (True, "")
        assert ask(second, OBS[0])["source"] == "prior"
        stop(first)
        answer = ask(second, OBS[1])
        assert (answer["state"], answer["source"]) == ("stopped", "stop")
        assert answer["detail"].startswith("4 bad ticks in a row"), "which the other one sent"
        for rearm in ({"rearm": True}, {"rearm": True, "obs": OBS[0]}):
            second.send(pack(rearm))
            assert "error: only an operator re-arms here" in str(second.recv(timeout=30))
        assert ask(second, OBS[0])["state"] == ask(first, OBS[0])["state"] == "stopped"
        assert ask(first, OBS[0], rearm=True)["state"] == "ok"
        assert ask(second, OBS[0])["state"] == "ok", "the stop was the client's"
        stop(second)
        assert ask(first, OBS[0])["state"] == "stopped"
    with client(port, "twin&key=wrong") as later:
        later.send(pack({"rearm": True}))
        assert isinstance(later.recv(timeout=30), str)
    key = server.stops.key("twin")
    assert key == first.metadata["key"] and key in describe(server)
    assert get(port, "/rearm?client=twin&key=wrong")[0] == 403
    assert get(port, f"/rearm?client=twin&key={key}") == (200, "twin is re-armed\n")
    with client(port, "twin") as anyone:
        assert ask(anyone, OBS[0])["state"] == "ok" and anyone.metadata["key"] != key


def test_an_operator_rearms_with_the_token(controller):
    """Whoever is connected at its next tick; not without the token, nor where there is none."""
    shown = {"Authorization": f"Bearer {TOKEN}"}
    with serving(controller, TOKEN, clients=2) as (_, port):
        with client(port, "arm", **shown) as arm:
            stop(arm)
            assert page(port) == "OK\n1 stopped until re-armed\n", "names are not for everyone"
            assert "arm stopped" in page(port, **shown)
            assert get(port, "/rearm?client=arm")[0] == 401
            assert get(port, "/rearm?client=leg", **shown)[0] == 404
            arm.send(pack({"rearm": True}))
            assert "error: only an operator" in str(arm.recv(timeout=30))
            assert arm.metadata["key"] == ""
            assert ask(arm, OBS[0])["state"] == "stopped"
            assert get(port, "/rearm?client=arm", **shown) == (200, "arm is re-armed\n")
            assert ask(arm, OBS[0])["state"] == "ok"
            stop(arm)
        assert get(port, "/rearm?client=arm", **shown)[0] == 200  # nobody is connected
        with client(port, "arm", **shown) as arm:
            assert ask(arm, OBS[0])["state"] == "ok"
        assert 'rearms_total{by="operator"} 2.0' in page(port, "/metrics", **shown)


def test_nobody_rearms_by_a_web_page(served):
    """Without a token any page could ask for this one."""
    assert get(served[1], "/rearm?client=arm")[0] == 403


def test_who_a_client_is(served, monkeypatch):
    """By a plain name, or by its address; when no more stops can be kept nobody is let in."""
    assert client_of("/?client=arm-1", "1.2.3.4") == "arm-1"
    for path in ("/", "/?client=", "/?other=x", "/?" + "&".join("abcdefghijk")):
        assert client_of(path, "1.2.3.4") == "@1.2.3.4"
    for name in ("@1.2.3.4", "a b", "x" * 65, "%0a"):
        with pytest.raises(ValueError, match="1 to 64"):
            client_of(f"/?client={name}", "1.2.3.4")
    with pytest.raises(InvalidStatus, match="400"):
        connect(f"ws://127.0.0.1:{served[1]}/?client=@127.0.0.1")
    stops = EStops()
    assert stops.stop("a", "one\n reason") and not stops.stop("a", "another")
    assert stops.reasons() == {"a": "one reason"} and not stops.full
    monkeypatch.setattr("agents.deployment.serving.stops.MAX_STOPS", 0)
    with pytest.raises(InvalidStatus, match="503"):
        connect(f"ws://127.0.0.1:{served[1]}")


def test_repeated_and_reordered_observations_are_found(served):
    """By the client's own numbers."""
    with client(served[1]) as connection:
        found = [ask(connection, OBS[0], sequence=n)["faults"] for n in (5, 6, 6, 4)]
    assert found == [[], [], ["duplicated"], ["reordered"]]


def test_bad_messages_are_answered_and_then_not(served):
    """A line of text each, as openpi's server does; after four in a row the client must go."""
    with client(served[1]) as good:
        with client(served[1]) as bad, pytest.raises(ConnectionClosed) as closed:
            for message in (b"\xc1", "text", pack({"observation": OBS[0]}), b"", pack({})):
                bad.send(message)
                answer = bad.recv(timeout=30)
                assert isinstance(answer, str) and answer.startswith("error: ")
                assert "\n" not in answer
                assert ask(good, OBS[0])["state"] == "ok"
        assert closed.value.rcvd.code == 1008
        with client(served[1]) as bad, pytest.raises(ConnectionClosed) as closed:
            bad.send(bytes(5000))
            bad.recv(timeout=30)
        assert closed.value.rcvd.code == 1009
        assert ask(good, OBS[0])["state"] == "ok"


def test_pages(served):
    """Health and metrics; what is not there; a third client; a web page that wants to steer."""
    server, port = served
    compiled = server.compilations.count  # by other tests, in this process
    assert get(port, "/healthz") == (200, "OK\n")
    assert get(port, "/nothing")[0] == 404
    with client(port) as one, client(port):
        ask(one, OBS[0])
        status, text = get(port, "/metrics")
        assert status == 200
        assert "\nlatentmpc_clients 2.0\n" in text
        assert f"\nlatentmpc_compilations {compiled}.0\n" in text
        assert 'latentmpc_ticks_total{source="prior"}' in text
        assert 'latentmpc_compute_milliseconds_bucket{le="+Inf"}' in text
        with pytest.raises(InvalidStatus, match="503"):
            connect(f"ws://127.0.0.1:{port}")
    for origin in ("http://evil.example", f"http://127.0.0.1:{port}"):
        with pytest.raises(InvalidStatus, match="403"), client(port, Origin=origin):
            pass


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/", "/rearm?client=arm"])
def test_a_name_that_points_here_reads_nothing(served, path):
    """A page's own name for this machine is in Host, whatever it asks for."""
    _, port = served
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil:{port}"):
        status, text = get(port, path, Host=host)
        assert (status, text) == (403, f"open it as this machine: Host must be localhost:{port}\n")
    for host in ("localhost", "127.0.0.1"):
        assert get(port, "/metrics", Host=f"{host}:{port}")[0] == 200


def test_a_good_client_among_bad_ones(served):
    """Three hundred bad frames of every kind: nothing breaks, and every good tick is answered."""
    _, port = served
    sent = {}
    attack = threading.Thread(
        target=lambda: sent.update(fuzz.attack("127.0.0.1", port, 300, 1, 5000))
    )
    with client(port) as good:
        attack.start()
        ticks = 0
        while attack.is_alive() or ticks < 20:
            answer = ask(good, OBS[ticks % 12])
            assert answer["state"] == "ok" and answer["faults"] == []
            ticks += 1
        attack.join()
    assert sum(sent.get(kind, 0) for kind in fuzz.KINDS) == 300
    assert len([kind for kind in fuzz.KINDS if sent.get(kind)]) >= 7


def test_a_token_is_asked_for(controller, monkeypatch, tmp_path):
    """In the words of openpi's client and of Prometheus; only health is for everyone."""
    with serving(controller, TOKEN, clients=1) as (_, port):
        for headers in ({}, {"Authorization": "Api-Key wrong"}, {"Authorization": TOKEN}):
            with pytest.raises(InvalidStatus, match="401"), client(port, **headers):
                pass
            assert get(port, "/metrics", **headers)[0] == 401
        assert get(port, "/metrics", Authorization="Bearer \u00fc")[0] == 401
        with client(port, Authorization=f"Api-Key {TOKEN}") as connection:
            assert ask(connection, OBS[0])["state"] == "ok"
        assert get(port, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert get(port, "/healthz")[0] == 200


def test_who_may_listen_to_the_world(monkeypatch, tmp_path):
    """No token, no network; short tokens are none; the file wins over the variable."""
    monkeypatch.delenv("LATENTMPC_TOKEN", raising=False)
    assert token_of(ServeConfig()) == "" == token_of(ServeConfig(host="::1"))
    for host in ("0.0.0.0", "192.168.1.5", "robot.local"):
        with pytest.raises(ConfigError, match="--token-file"):
            token_of(ServeConfig(host=host))
    monkeypatch.setenv("LATENTMPC_TOKEN", "short")
    with pytest.raises(ConfigError, match="16 or more"):
        token_of(ServeConfig())
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "token").chmod(0o640)
    with pytest.raises(ConfigError, match=r"read by others \(mode 640\): chmod 600 "):
        token_of(ServeConfig(token_file=str(tmp_path / "token")))
    (tmp_path / "token").chmod(0o600)
    assert token_of(ServeConfig(host="0.0.0.0", token_file=str(tmp_path / "token"))) == TOKEN
    with pytest.raises(ConfigError, match="cannot be read"):
        token_of(ServeConfig(token_file=str(tmp_path / "none")))


def test_serve_vouches_for_a_bundle_as_run_does(tiny_bundle, tiny_run, capsys):
    """The same flags, the same refusals, in one line each, before anything listens."""
    other, shown = "0" * 64, capsys.readouterr
    for verb in ("run", "serve"):
        assert main([verb, tiny_bundle.path, "--digest", other]) == 3
        assert f"SHA-256 {tiny_bundle.digest}, expected {other}" in shown().err
        assert main([verb, tiny_bundle.path, "--digest", "abc"]) == 3
        assert "is no digest: give the 64 hex digits" in shown().err
        assert main([verb, str(tiny_run), "--digest", other]) == 3
        assert "is no bundle" in shown().err
    for name in ("trust", "digest"):
        ours, theirs = (vars(c)["__dataclass_fields__"][name] for c in (ServeConfig, RunConfig))
        assert ours is theirs


def serve_once(path, **settings):
    """What `serve` says of itself, ended as soon as it listens."""
    said = []
    end = lambda host, port: signal.raise_signal(signal.SIGTERM)  # noqa: E731
    result = run_server(ServeConfig(path, port=0, mode="prior", **settings), said.append, end)
    return result, said


def test_what_is_served_of_a_bundle_is_said(tiny_bundle):
    """As in `run`: one line, and in the result."""
    result, said = serve_once(tiny_bundle.path, trust=True)
    assert result["programs"] is True and not [line for line in said if "programs" in line]
    result, said = serve_once(tiny_bundle.path)
    assert result["programs"] is False
    assert "not trusted" in result["note"] and result["note"] in said[0]


def documented(name):
    """A file as the page about serving shows it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    (found,) = (block for block in blocks if block.startswith(f"# {name}"))
    return found


@contextlib.contextmanager
def dying(answers, drop=False):
    """A server that greets, answers so often, and is then silent or gone; where it listens."""
    about = {"period_s": 0.02, "action_safe": np.full(1, 0.25, np.float32)}

    def serve_one(connection):
        connection.send(pack(about))
        for _ in range(answers):
            connection.recv()
            connection.send(pack({"actions": np.zeros((1, 1), np.float32), "state": "ok"}))
        connection.recv()
        if not drop:
            over.wait(30)

    over = threading.Event()
    with serve(serve_one, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def example(tmp_path, monkeypatch):
    """client.py and robot.py as documented, importable."""
    (tmp_path / "client.py").write_text(CLIENT.read_text())
    (tmp_path / "robot.py").write_text(documented("robot.py"))
    monkeypatch.syspath_prepend(tmp_path)
    names = ("client", "robot")
    yield [importlib.import_module(name) for name in names]
    for name in names:
        sys.modules.pop(name)


@pytest.mark.parametrize("drop", [False, True])
def test_a_dead_server_hangs_no_client(example, drop):
    """An error within the time that was given, of one line; nothing late is taken for an answer."""
    module, _ = example
    with dying(2, drop) as url:
        robot = module.Client(url, timeout=0.3)
        for _ in range(2):
            assert robot.act(OBS[0])["state"] == "ok"
        begin = time.monotonic()
        with pytest.raises(ConnectionClosed if drop else TimeoutError) as caught:
            robot.act(OBS[0])
        assert time.monotonic() - begin < 3 and "\n" not in str(caught.value)
        assert drop or "no answer within 0.3 s: is the server alive?" in str(caught.value)
        with pytest.raises(ConnectionClosed):
            robot.act(OBS[0])


def test_a_dead_server_leaves_the_robot_safe(example, monkeypatch):
    """The worked example sends the contract's safe action before its error ends it."""
    sent = []

    class Robot:
        ended = ()
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731
        ready = lambda self: None  # noqa: E731
        start = lambda self, begin: None  # noqa: E731
        send = lambda self, action: sent.append(action.tolist())  # noqa: E731
        newest = lambda self: Frame(len(sent), 0, 0, time.monotonic(), OBS[0])  # noqa: E731

    _, module = example
    monkeypatch.setattr(module, "LiveSimulator", lambda *args, **settings: Robot())
    with dying(3) as url, pytest.raises(TimeoutError, match="is the server alive"):
        module.control(url)
    assert sent == [[0.0]] * 3 + [[0.25]]


def test_the_documented_client_is_short_and_the_worked_example_runs(served, tmp_path):
    """client.py in 40 lines, and robot.py with hardware in a process of its own, as shown."""
    assert len(CLIENT.read_text().splitlines()) <= 40
    (tmp_path / "client.py").write_text(CLIENT.read_text())
    (tmp_path / "robot.py").write_text(documented("robot.py"))
    code = f"import robot; a, e = robot.control('ws://127.0.0.1:{served[1]}', seconds=1.0); "
    code += "print(a['state'], len(a['actions']), a['tick'])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=200
    )
    assert run.returncode == 0, run.stderr
    state, actions, ticks = run.stdout.split()
    assert state in ("ok", "hold", "fallback", "stopped") and actions == "1"
    assert 1 <= int(ticks) <= 50


OPENPI = """
import json, sys
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

policy = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]), api_key=sys.argv[2])
answers = [policy.infer({"obs": np.asarray(obs, np.float32)}) for obs in json.loads(sys.argv[3])]
policy.reset()
try:
    policy.infer({"observation/state": np.zeros(5)})
except RuntimeError as error:
    told = str(error)
print(json.dumps({
    "about": policy.get_server_metadata()["protocol"],
    "actions": [answer["actions"].tolist() for answer in answers],
    "told": told,
}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_openpis_own_client(controller, tmp_path):
    """The published package, in an environment of its own: actions, token, errors."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "openpi-client==0.1.2", "typing_extensions"]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"openpi-client cannot be installed here: {installed.stderr[-300:]}")
    with serving(controller, TOKEN, clients=1, seed=3) as (_, port):
        words = [python, "-c", OPENPI, str(port), TOKEN, json.dumps(OBS.tolist())]
        run = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        with client(port, Authorization=f"Api-Key {TOKEN}") as connection:
            ours = [ask(connection, obs)["actions"] for obs in OBS]
    said = json.loads(run.stdout)
    assert said["about"] == "latentmpc/1"
    np.testing.assert_array_equal(np.array(said["actions"], np.float32), ours)
    assert "unknown key 'observation/state'" in said["told"]
