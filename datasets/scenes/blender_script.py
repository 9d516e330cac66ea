"""What Blender's interpreter runs: ``python blender_script.py FOLDER`` reads ``scenes.npz`` and writes ``pictures.npy``.

It uses bpy and numpy and nothing of pbench. Standard input is a pipe that stays open as long as the caller lives.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

CANNOT_IMPORT = 90


def _die_with_caller() -> None:
    # The pipe ends when the caller does, however it ends.
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def _settings(bpy: Any, size: int, samples: int) -> Any:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.seed = 0
    scene.cycles.max_bounces = 0
    scene.cycles.use_denoising = False
    scene.cycles.use_adaptive_sampling = False
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.use_persistent_data = True
    scene.render.dither_intensity = 0
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.view_settings.view_transform = "Standard"
    return scene


def _material(bpy: Any, name: str, *, tinted: bool) -> tuple[Any, Any]:
    """A plain diffuse surface, and the socket that takes its colour."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    out, diffuse, colour = (nodes.new(f"ShaderNode{kind}") for kind in ("OutputMaterial", "BsdfDiffuse", "RGB"))
    links.new(diffuse.outputs["BSDF"], out.inputs["Surface"])
    if tinted:
        tint, times = nodes.new("ShaderNodeAttribute"), nodes.new("ShaderNodeVectorMath")
        tint.attribute_name, times.operation = "tint", "MULTIPLY"
        links.new(colour.outputs[0], times.inputs[0])
        links.new(tint.outputs["Vector"], times.inputs[1])
        links.new(times.outputs[0], diffuse.inputs["Color"])
    else:
        links.new(colour.outputs[0], diffuse.inputs["Color"])
    return material, colour.outputs[0]


def _solid(bpy: Any, scene: Any, name: str, given: Any, i: int, material: Any) -> Any:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(given[f"vertices{i}"].tolist(), [], given[f"faces{i}"].tolist())
    mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
    tint = mesh.attributes.new("tint", "FLOAT", "POINT")
    tint.data.foreach_set("value", given[f"tints{i}"].astype("float32"))
    mesh.materials.append(material)
    body = bpy.data.objects.new(name, mesh)
    scene.collection.objects.link(body)
    return body


def _plane(bpy: Any, scene: Any, height: float, material: Any) -> None:
    mesh = bpy.data.meshes.new("ground")
    far = 300.0
    mesh.from_pydata([(-far, -far, height), (far, -far, height), (far, far, height), (-far, far, height)], [], [(0, 1, 2, 3)])
    mesh.materials.append(material)
    scene.collection.objects.link(bpy.data.objects.new("ground", mesh))


def _lamp(bpy: Any, scene: Any, kind: str, watts: float, place: tuple[float, ...]) -> Any:
    lamp = bpy.data.objects.new(kind, bpy.data.lights.new(kind, kind))
    lamp.data.energy, lamp.location = watts, place
    scene.collection.objects.link(lamp)
    return lamp


def _towards(vector: Any, place: Any, target: Any) -> Any:
    """Rotation of a camera or lamp (which look along -z) that looks from a place at a target, z up."""
    away = vector([float(b - a) for a, b in zip(place, target, strict=True)])
    return away.to_track_quat("-Z", "Y").to_euler()


def main(folder: Path) -> None:
    threading.Thread(target=_die_with_caller, daemon=True).start()
    try:
        bpy, np, mathutils = import_module("bpy"), import_module("numpy"), import_module("mathutils")
    except ImportError as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(CANNOT_IMPORT) from None
    given = np.load(folder / "scenes.npz")
    size, samples, ground, watts, cone, soft, sun, lamp_watts, lamp_height = given["numbers"].tolist()
    scene = _settings(bpy, int(size), int(samples))
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    # The tangent of half the field of view is half the sensor over the lens.
    camera.data.sensor_width, camera.data.lens = 50.0, 25.0 / float(given["camera"][4, 0])
    camera.location = given["camera"][0].tolist()
    camera.rotation_euler = _towards(mathutils.Vector, (0, 0, 0), given["camera"][3])
    scene.collection.objects.link(camera)
    scene.camera = camera
    coat, coat_colour = _material(bpy, "coat", tinted=True)
    floor, floor_colour = _material(bpy, "floor", tinted=False)
    _plane(bpy, scene, ground, floor)
    kinds = sorted(set(given["shape"].tolist()))
    solids = {i: _solid(bpy, scene, f"solid{i}", given, i, coat) for i in kinds}
    spot = _lamp(bpy, scene, "SPOT", watts, (0, 0, 0))
    spot.data.spot_size, spot.data.spot_blend, spot.data.shadow_soft_size = float(np.radians(cone)), soft, 0.5
    _lamp(bpy, scene, "SUN", sun, (0, 0, 10))
    _lamp(bpy, scene, "AREA", lamp_watts, (0, 0, lamp_height)).data.size = 1.0
    pictures = np.zeros((len(given["shape"]), int(size), int(size), 3), dtype=np.uint8)
    for i, kind in enumerate(given["shape"].tolist()):
        for other, body in solids.items():
            body.hide_render = other != kind
        turn = np.eye(4)
        turn[:3, :3], turn[:3, 3] = given["rotations"][i], given["places"][i]
        solids[kind].matrix_world = mathutils.Matrix(turn.tolist())
        spot.location = given["lamps"][i].tolist()
        spot.rotation_euler = _towards(mathutils.Vector, given["lamps"][i], given["places"][i])
        spot.data.color = given["colours"][i, 1].tolist()
        coat_colour.default_value = [*given["colours"][i, 0].tolist(), 1.0]
        floor_colour.default_value = [*given["colours"][i, 2].tolist(), 1.0]
        scene.render.filepath = str(folder / "picture.png")
        bpy.ops.render.render(write_still=True)
        drawn = bpy.data.images.load(scene.render.filepath)
        pixels = np.array(drawn.pixels[:]).reshape(int(size), int(size), -1)[::-1, :, :3]
        pictures[i] = np.rint(255 * pixels).astype(np.uint8)
        bpy.data.images.remove(drawn)
    np.save(folder / "pictures.npy", pictures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
