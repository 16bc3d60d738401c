"""Inserting a result that has arrived: one undo step."""

from __future__ import annotations

from typing import Any

import bpy

from ..jobs import store
from ..recipes import MaquetteError
from ..scene import results
from . import watch
from .texts import iface_, rpt_


class MAQUETTE_OT_insert_result(bpy.types.Operator):
    """Bring the job's result into the file"""

    bl_idname = "maquette.insert_result"
    bl_label = "Insert Result"
    bl_options = {"REGISTER", "UNDO"}

    job: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set(iface_("Results are inserted in object mode"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Any:
        try:
            job = store.find_job(self.job)
            scene = watch.scene_of(job) or context.scene
            made = results.insert(scene, job, watch.replaced_by(job))
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        watch.forget(self.job)
        form = results.form(job)
        form.show(context, made)
        self.report({"INFO"}, rpt_(form.said).format(made.name))
        return {"FINISHED"}


CLASSES = [MAQUETTE_OT_insert_result]
