"""Sparkplug B payloads as protobuf messages, described here by the specification's field numbers.

1. The description is built with protobuf's own descriptor interface: no compiler at installation,
   and no generated module to keep in step.
2. protobuf is imported with the first payload: 7 MB that other edges do without.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

PACKAGE = "mainstem.sparkplug_b"

_FIELDS: Mapping[str, str] = {
    "DataSet.DataSetValue": "1:int_value uint32 of value, 2:long_value uint64 of value, "
    "3:float_value float of value, 4:double_value double of value, "
    "5:boolean_value bool of value, 6:string_value string of value",
    "DataSet.Row": "1:elements DataSet.DataSetValue repeated",
    "DataSet": "1:num_of_columns uint64, 2:columns string repeated, 3:types uint32 repeated, "
    "4:rows DataSet.Row repeated",
    "PropertyValue": "1:type uint32, 2:is_null bool, 3:int_value uint32 of value, "
    "4:long_value uint64 of value, 5:float_value float of value, "
    "6:double_value double of value, 7:boolean_value bool of value, "
    "8:string_value string of value, 9:propertyset_value PropertySet of value, "
    "10:propertysets_value PropertySetList of value",
    "PropertySet": "1:keys string repeated, 2:values PropertyValue repeated",
    "PropertySetList": "1:propertyset PropertySet repeated",
    "MetaData": "1:is_multi_part bool, 2:content_type string, 3:size uint64, 4:seq uint64, "
    "5:file_name string, 6:file_type string, 7:md5 string, 8:description string",
    "Template.Parameter": "1:name string, 2:type uint32, 3:int_value uint32 of value, "
    "4:long_value uint64 of value, 5:float_value float of value, "
    "6:double_value double of value, 7:boolean_value bool of value, "
    "8:string_value string of value",
    "Template": "1:version string, 2:metrics Metric repeated, "
    "3:parameters Template.Parameter repeated, 4:template_ref string, 5:is_definition bool",
    "Metric": "1:name string, 2:alias uint64, 3:timestamp uint64, 4:datatype uint32, "
    "5:is_historical bool, 6:is_transient bool, 7:is_null bool, 8:metadata MetaData, "
    "9:properties PropertySet, 10:int_value uint32 of value, 11:long_value uint64 of value, "
    "12:float_value float of value, 13:double_value double of value, "
    "14:boolean_value bool of value, 15:string_value string of value, "
    "16:bytes_value bytes of value, 17:dataset_value DataSet of value, "
    "18:template_value Template of value",
    "Payload": "1:timestamp uint64, 2:metrics Metric repeated, 3:seq uint64, 4:uuid string, "
    "5:body bytes",
}
"""Message to its fields: number, name, type, then ``repeated`` or the ``oneof`` it is part of."""


@cache
def payload_class() -> Any:
    """The class of ``Payload``, whose nested messages are reached through its fields."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="mainstem/sparkplug_b.proto", package=PACKAGE, syntax="proto2"
    )
    for name, fields in _FIELDS.items():
        # Names with a dot are made flat: what a message is called is not on the wire.
        message = file.message_type.add(name=name.replace(".", ""))
        for text in fields.split(", "):
            number, rest = text.split(":")
            parts = rest.split()
            field = message.field.add(name=parts[0], number=int(number))
            field.label = (
                field_type.LABEL_REPEATED if "repeated" in parts else field_type.LABEL_OPTIONAL
            )
            scalar = f"TYPE_{parts[1].upper()}"
            if parts[1][0].isupper():
                field.type = field_type.TYPE_MESSAGE
                field.type_name = f".{PACKAGE}.{parts[1].replace('.', '')}"
            else:
                field.type = field_type.Type.Value(scalar)
            if "of" in parts:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="value")
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Payload"))
