# client.py: actions of `latentmpc serve`; needs numpy, msgpack and websockets
# ruff: noqa: D100, D101, D102, D103
import msgpack
import numpy as np
import websockets.sync.client as websockets


def pack(x):
    return {b"__ndarray__": 1, b"data": x.tobytes(), b"dtype": x.dtype.str, b"shape": x.shape}


def unpack(x):
    array = b"__ndarray__" in x
    return np.frombuffer(x[b"data"], x[b"dtype"]).reshape(x[b"shape"]) if array else x


class Client:
    def __init__(self, url, token="", timeout=1.0, robot=None):
        options = {"compression": None, "open_timeout": timeout, "close_timeout": 0.1}
        options["additional_headers"] = {"Authorization": f"Api-Key {token}"} if token else {}
        self.timeout, self.line = timeout, websockets.connect(url, **options)
        self.about = self.receive()
        if robot:  # {"actuators": [names], "rate_hz": 50}: another robot's controller is refused
            self.line.send(msgpack.packb({"robot": robot}))
            self.receive()

    def act(self, obs, **more):
        message = {"obs": np.asarray(obs, np.float32), **more}
        self.line.send(msgpack.packb(message, default=pack))
        return self.receive()

    def receive(self):
        try:
            answer = self.line.recv(self.timeout)
        except TimeoutError:
            self.line.close()  # a late answer must not be taken for the next one
            raise TimeoutError(f"no answer within {self.timeout} s: is the server alive?") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return msgpack.unpackb(answer, object_hook=unpack)
