"""The OpenAPI description of chat's HTTP side, made from the models that its handlers use."""

from typing import Any

from pydantic.json_schema import models_json_schema

from chat.api.messages import PATH
from chat.api.schemas import MessagesOut, MessagesQuery
from chat.domain.errors import ChatNotFound
from common.web import answers

REF = "#/components/schemas/{model}"


def describe() -> dict[str, Any]:
    """Return the description, as FastAPI makes those of the other services."""
    _, schemas = models_json_schema([(MessagesOut, "serialization")], ref_template=REF)
    answer = {"$ref": REF.format(model=MessagesOut.__name__)}
    page = {"description": "Successful Response", "content": {"application/json": {"schema": answer}}}
    operation = {
        "operationId": "list_messages",
        "summary": "List Messages",
        "description": "List the messages of a deal's chat, oldest first.",
        "tags": ["chat"],
        "security": [{"HTTPBearer": []}],
        "parameters": [_parameter("path", "chat_id", {"type": "string", "format": "uuid"}), *_query()],
        "responses": {"200": page} | {str(status): answer for status, answer in answers(ChatNotFound).items()},
    }
    bearer = {"type": "http", "scheme": "bearer", "description": "An API key of your tenant"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Garant chat",
            "description": "The messages of a deal, for its marketplace.",
            "version": "1",
        },
        "paths": {PATH: {"get": operation}},
        "components": {"schemas": schemas["$defs"], "securitySchemes": {"HTTPBearer": bearer}},
    }


def _parameter(where: str, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"in": where, "name": name, "required": where == "path", "schema": schema}


def _query() -> list[dict[str, Any]]:
    return [
        _parameter("query", n, schema) for n, schema in MessagesQuery.model_json_schema()["properties"].items()
    ]
