"""For mitmdump: leads to the parent on this machine, and alters what the file DEEDS says.

mitmdump -s inspecting_proxy.py --set parent=PORT --set deeds=FILE
"""

from pathlib import Path

from mitmproxy import ctx, http


class Between:
    """What a proxy that breaks TLS open may do."""

    def load(self, loader) -> None:
        loader.add_option("parent", int, 0, "the parent's port")
        loader.add_option("deeds", str, "", "the file that says what to do")

    def server_connect(self, data) -> None:
        data.server.address = ("127.0.0.1", ctx.options.parent)

    def _does(self, deed: str) -> bool:
        return deed in Path(ctx.options.deeds).read_text().split()

    def request(self, flow: http.HTTPFlow) -> None:
        if self._does("alter-request"):
            flow.request.content = flow.request.content.replace(b'"v":1', b'"v":1,"x":2')
        if self._does("forge-answer"):
            flow.response = http.Response.make(
                200, b'{"acked":999999,"next_s":5,"time":0}', {"Content-Type": "application/json"}
            )

    def response(self, flow: http.HTTPFlow) -> None:
        if self._does("alter-answer"):
            flow.response.content = flow.response.content.replace(b'"acked":', b'"acked":9')


addons = [Between()]
