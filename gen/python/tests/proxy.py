"""A reverse proxy in front of the real server that loses requests and answers on demand."""

import http.client
import http.server
import threading


class Proxy:
    """Forwards requests; `faults` says what happens to those whose path contains a text.

    A fault is "lose request", "lose answer" (after the server has carried it out), "cut answer"
    (half of its body arrives), or a tuple of status, headers and body that is answered at once.
    Each fault happens once.
    """

    def __init__(self, port):
        self.requests = []  # method and target, in order
        self.faults = []  # pairs of text and fault
        self._lock = threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy._take(self.command, self.path)
                if isinstance(fault, tuple):
                    status, headers, content = fault
                    return self.answer(status, headers, content)
                if fault == "lose request":
                    self.close_connection = True
                    return None
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    headers = {k: v for k, v in self.headers.items() if k != "Accept-Encoding"}
                    upstream.request(self.command, self.path, body or None, headers)
                    response = upstream.getresponse()
                    content = response.read()
                finally:
                    upstream.close()
                if fault == "lose answer":
                    self.close_connection = True
                    return None
                kept = ("content-type", "link", "etag", "retry-after", "x-request-id")
                headers = {k: v for k, v in response.getheaders() if k.lower() in kept}
                return self.answer(response.status, headers, content, fault == "cut answer")

            do_GET = do_POST = do_PUT = do_DELETE = forward

            def answer(self, status, headers, content, cut=False):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status not in (204, 304):
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if cut else content)
                if cut:
                    self.close_connection = True

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def _take(self, method, target):
        with self._lock:
            self.requests.append((method, target))
            for i, (text, fault) in enumerate(self.faults):
                if text in target:
                    del self.faults[i]
                    return fault
        return None

    def count(self, text):
        """Returns how many requests came whose target contains a text."""
        with self._lock:
            return sum(text in target for _, target in self.requests)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
