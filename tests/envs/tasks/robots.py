"""Small robots as their files are: an arm, a four-legged body, each with a task file beside it."""

ARM = """<mujoco>
  <compiler angle="radian"/>
  <option timestep="0.005"/>
  <worldbody><body name="upper"><joint name="shoulder" axis="0 1 0" range="-2 2" damping="0.5"/>
    <geom type="capsule" size="0.03" fromto="0 0 0 0 0 0.3" mass="1"/>
    <body name="lower" pos="0 0 0.3"><joint name="elbow" axis="0 1 0" range="-2 2" damping="0.5"/>
      <geom type="capsule" size="0.02" fromto="0 0 0 0 0 0.2" mass="0.5" contype="0"/>
      <site name="gripper" pos="0 0 0.2"/></body></body></worldbody>
  <actuator><position joint="shoulder" kp="40" ctrlrange="-2 2"/>
    <position joint="elbow" kp="20" ctrlrange="-2 2"/></actuator>
</mujoco>"""

LEG = """<body name="leg{i}" pos="{x} {y} 0"><joint name="hip{i}" axis="0 1 0" range="-1 1"/>
  <geom type="capsule" size="0.02" fromto="0 0 0 0 0 -0.2" mass="0.2"/></body>"""
LEGS = "".join(
    LEG.format(i=i, x=x, y=y)
    for i, (x, y) in enumerate([(0.2, 0.1), (0.2, -0.1), (-0.2, 0.1), (-0.2, -0.1)])
)
WALKER = f"""<mujoco>
  <compiler angle="radian"/><option timestep="0.005"/>
  <worldbody><body name="trunk" pos="0 0 0.25"><freejoint/>
    <geom type="box" size="0.25 0.1 0.05" mass="3"/>{LEGS}</body></worldbody>
  <actuator>{"".join(f'<motor joint="hip{i}" ctrlrange="-10 10"/>' for i in range(4))}</actuator>
  <keyframe><key name="stand" qpos="0 0 0.25 1 0 0 0 0 0 0 0"/></keyframe>
</mujoco>"""
