"""The protocol: a session's tools, over standard input and output.

Everything else that would be printed there goes to standard error; the SDK sees to that.
"""

from __future__ import annotations

import importlib.metadata

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from workbench.agent.redaction import redacted
from workbench.assets import asset
from workbench.authors.templates import environment, render
from workbench.mcp.session import Session

# Of a result, as all together an agent's context must hold it.
MOST_CHARACTERS = 200_000
_READS = frozenset({"status", "list", "read", "search", "verify", "compile", "bench"})
Context = ServerRequestContext[object]


def serve(session: Session) -> None:
    """Serve one agent until it hangs up."""
    anyio.run(_serve, session)


async def _serve(session: Session) -> None:
    async def tools(
        context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        schemas = await anyio.to_thread.run_sync(session.schemas)
        return types.ListToolsResult(tools=[_tool(schema) for schema in schemas])

    async def call(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        said = 0

        async def tell(doing: str) -> None:
            nonlocal said
            said += 1
            await context.session.report_progress(said, message=doing)

        answer = await session.call(params.name, params.arguments or {}, tell)
        return types.CallToolResult(content=_content(answer.texts), is_error=answer.is_error)

    server = Server(
        "workbench",
        version=importlib.metadata.version("kernel-workbench"),
        instructions=render(environment(asset("prompts")), "mcp/instructions.j2", {}),
        on_list_tools=tools,
        on_call_tool=call,
    )
    async with stdio_server() as (read, write):
        try:
            await server.run(read, write, server.create_initialization_options())
        finally:
            session.close()


def _tool(schema: dict[str, object]) -> types.Tool:
    name = str(schema["name"])
    return types.Tool.model_validate(
        {
            "name": name,
            "description": schema["description"],
            "inputSchema": schema["input_schema"],
            "annotations": {
                "readOnlyHint": name in _READS,
                "destructiveHint": False,
                "openWorldHint": False,
            },
        }
    )


def _content(texts: tuple[str, ...]) -> list[types.ContentBlock]:
    """The texts, without what must not be told, as long as there is room."""
    found: list[types.ContentBlock] = []
    room = MOST_CHARACTERS
    for text in texts:
        told = redacted(text)
        kept = told if len(told) <= room else told[:room] + "\n... (cut)"
        found.append(types.TextContent(type="text", text=kept or "(nothing)"))
        room -= min(room, len(told))
    return found
