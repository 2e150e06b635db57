"""The REST interface of all CAs of a devnet: paths, CA selection, the shape of answers.

``docs/fabric-protocol.md`` 5.1 and 5.2; no sockets, see :mod:`light_node.devnet.ca_server`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from light_node import jsonio
from light_node.devnet.ca import CertificateAuthority
from light_node.devnet.ca_admin import Administration
from light_node.devnet.ca_requests import CaAnswer, CaFailure, CaRequest
from light_node.i18n import Text


class CaInterface:
    """All CAs of a devnet behind one REST interface; the first one is the default."""

    def __init__(self, authorities: Sequence[CertificateAuthority]) -> None:
        self._authorities = {authority.name: authority for authority in authorities}
        self._administrations = {a.name: Administration(a) for a in authorities}
        self._default = authorities[0]

    def handle(self, request: CaRequest) -> CaAnswer:
        """Answer one request; failures become answers, too."""
        try:
            status, result = self._route(request)
        except CaFailure as failure:
            return _failed(failure.status, failure.code, str(failure))
        except jsonio.JsonError as error:
            return _failed(400, 0, str(error))
        return CaAnswer(status, {"result": result, "errors": [], "messages": [], "success": True})

    def _route(self, request: CaRequest) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(request.target)
        path = parts.path.removeprefix("/api/v1").strip("/")
        fields = self._fields(request, path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        authority = self._authority(query.get("ca") or str(fields.get("caname") or ""))
        name, _, rest = path.partition("/")
        if name == "cainfo" and not rest:
            return 200, authority.info()
        if name in ("identities", "affiliations", "certificates"):
            return self._administer(authority.name, request, name, unquote(rest), fields, query)
        actions = {
            "enroll": (201, authority.enroll),
            "reenroll": (201, authority.reenroll),
            "register": (201, authority.register),
            "revoke": (200, authority.revoke),
            "gencrl": (200, authority.crl),
        }
        if name not in actions or rest:
            raise CaFailure(404, 0, "no such endpoint on a devnet's CA")
        if request.method != "POST":
            raise CaFailure(405, 1, "Invalid HTTP method")
        status, action = actions[name]
        return status, action(request, fields)

    def _administer(
        self,
        ca: str,
        request: CaRequest,
        kind: str,
        name: str,
        fields: dict[str, Any],
        query: Mapping[str, str],
    ) -> tuple[int, dict[str, Any]]:
        administration = self._administrations[ca]
        match request.method, kind, bool(name):
            case "GET", "identities", _:
                return 200, administration.identities(request, name)
            case "POST", "identities", False:
                return 201, administration.add_identity(request, fields)
            case "PUT", "identities", True:
                return 200, administration.modify_identity(request, name, fields)
            case "DELETE", "identities", True:
                return 200, administration.remove_identity(request, name, query)
            case "GET", "affiliations", _:
                return 200, administration.affiliations(request, name)
            case "POST", "affiliations", False:
                return 201, administration.add_affiliation(request, fields, query)
            case "DELETE", "affiliations", True:
                return 200, administration.remove_affiliation(request, name, query)
            case "GET", "certificates", False:
                return 200, administration.certificates(request, query)
        raise CaFailure(405, 1, "Invalid HTTP method")

    def _fields(self, request: CaRequest, path: str) -> dict[str, Any]:
        if request.body:
            try:
                return jsonio.mapping(jsonio.strict_loads(request.body), Text("the request"))
            except jsonio.JsonError as error:
                raise CaFailure(400, 5, f"Invalid request body: {error}") from error
        if request.method in ("POST", "PUT") and path != "cainfo":
            raise CaFailure(400, 4, "Empty request body")
        return {}

    def _authority(self, name: str) -> CertificateAuthority:
        if not name:
            return self._default
        try:
            return self._authorities[name]
        except KeyError:
            raise CaFailure(404, 19, f"CA '{name[:100]}' does not exist") from None


def _failed(status: int, code: int, message: str) -> CaAnswer:
    errors = [{"code": code, "message": message}]
    return CaAnswer(status, {"result": "", "errors": errors, "messages": [], "success": False})
