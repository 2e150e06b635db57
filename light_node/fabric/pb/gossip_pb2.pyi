from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Envelope(_message.Message):
    __slots__ = ("payload", "signature", "secret_envelope")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SECRET_ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    signature: bytes
    secret_envelope: SecretEnvelope
    def __init__(self, payload: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., secret_envelope: _Optional[_Union[SecretEnvelope, _Mapping]] = ...) -> None: ...

class SecretEnvelope(_message.Message):
    __slots__ = ("payload", "signature")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    signature: bytes
    def __init__(self, payload: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...
