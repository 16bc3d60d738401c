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


class MAQUETTE_OT_show_result(bpy.types.Operator):
    """Select what the job has made and bring it into view"""

    bl_idname = "maquette.show_result"
    bl_label = "Show"
    bl_options = {"REGISTER", "UNDO"}

    job: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> Any:
        made = results.of_job(self.job)
        if made is None:
            self.report({"ERROR"}, rpt_("The result is not in this file; insert it again"))
            return {"CANCELLED"}
        results.show(context, made)
        view: Any = bpy.ops.view3d
        if view.view_selected.poll():
            view.view_selected()
        return {"FINISHED"}


class MAQUETTE_OT_compare_result(bpy.types.Operator):
    """Show what the result was made of in its place; press again for the result"""

    bl_idname = "maquette.compare_result"
    bl_label = "Compare"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.object is None or not results.originals(context.scene, context.object):
            cls.poll_message_set(iface_("Select a result whose original is in the scene"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Any:
        results.swap_with_originals(context.scene, context.object)
        return {"FINISHED"}


CLASSES = [MAQUETTE_OT_insert_result, MAQUETTE_OT_show_result, MAQUETTE_OT_compare_result]
