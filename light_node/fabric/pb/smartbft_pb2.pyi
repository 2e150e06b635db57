from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Options(_message.Message):
    __slots__ = ("request_batch_max_count", "request_batch_max_bytes", "request_batch_max_interval", "incoming_message_buffer_size", "request_pool_size", "request_forward_timeout", "request_complain_timeout", "request_auto_remove_timeout", "request_max_bytes", "view_change_resend_interval", "view_change_timeout", "leader_heartbeat_timeout", "leader_heartbeat_count", "collect_timeout", "sync_on_start", "speed_up_view_change", "leader_rotation", "decisions_per_leader")
    class Rotation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ROTATION_UNSPECIFIED: _ClassVar[Options.Rotation]
        ROTATION_OFF: _ClassVar[Options.Rotation]
        ROTATION_ON: _ClassVar[Options.Rotation]
    ROTATION_UNSPECIFIED: Options.Rotation
    ROTATION_OFF: Options.Rotation
    ROTATION_ON: Options.Rotation
    REQUEST_BATCH_MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BATCH_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BATCH_MAX_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    INCOMING_MESSAGE_BUFFER_SIZE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_POOL_SIZE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FORWARD_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COMPLAIN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_AUTO_REMOVE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    VIEW_CHANGE_RESEND_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    VIEW_CHANGE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    LEADER_HEARTBEAT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    LEADER_HEARTBEAT_COUNT_FIELD_NUMBER: _ClassVar[int]
    COLLECT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    SYNC_ON_START_FIELD_NUMBER: _ClassVar[int]
    SPEED_UP_VIEW_CHANGE_FIELD_NUMBER: _ClassVar[int]
    LEADER_ROTATION_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_PER_LEADER_FIELD_NUMBER: _ClassVar[int]
    request_batch_max_count: int
    request_batch_max_bytes: int
    request_batch_max_interval: str
    incoming_message_buffer_size: int
    request_pool_size: int
    request_forward_timeout: str
    request_complain_timeout: str
    request_auto_remove_timeout: str
    request_max_bytes: int
    view_change_resend_interval: str
    view_change_timeout: str
    leader_heartbeat_timeout: str
    leader_heartbeat_count: int
    collect_timeout: str
    sync_on_start: bool
    speed_up_view_change: bool
    leader_rotation: Options.Rotation
    decisions_per_leader: int
    def __init__(self, request_batch_max_count: _Optional[int] = ..., request_batch_max_bytes: _Optional[int] = ..., request_batch_max_interval: _Optional[str] = ..., incoming_message_buffer_size: _Optional[int] = ..., request_pool_size: _Optional[int] = ..., request_forward_timeout: _Optional[str] = ..., request_complain_timeout: _Optional[str] = ..., request_auto_remove_timeout: _Optional[str] = ..., request_max_bytes: _Optional[int] = ..., view_change_resend_interval: _Optional[str] = ..., view_change_timeout: _Optional[str] = ..., leader_heartbeat_timeout: _Optional[str] = ..., leader_heartbeat_count: _Optional[int] = ..., collect_timeout: _Optional[str] = ..., sync_on_start: _Optional[bool] = ..., speed_up_view_change: _Optional[bool] = ..., leader_rotation: _Optional[_Union[Options.Rotation, str]] = ..., decisions_per_leader: _Optional[int] = ...) -> None: ...
