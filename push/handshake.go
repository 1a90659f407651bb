package push

import (
	"bufio"
	"errors"
	"net"
	"net/http"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/internal/bufconn"
)

// Why a request does not become a WebSocket.
var (
	errHandshakes  = errors.New("too many handshakes just now; try again in some seconds")
	errNoHandshake = errors.New("this address is for WebSocket clients, as ws:// or wss://: " +
		"the request asks for no upgrade to a WebSocket of version 13")
	errBadHandshake = errors.New("the WebSocket handshake is invalid: " +
		"Sec-WebSocket-Key must be 16 bytes in Base64")
	errOrigin = errors.New("pages of this Origin may not connect; " +
		"OEI_PUSH_ALLOWED_ORIGINS names those that may")
)

// HandshakeError says why a request does not become a WebSocket, and with which status to answer.
type HandshakeError struct {
	Status int
	Reason error
}

func (e *HandshakeError) Error() string { return e.Reason.Error() }
func (e *HandshakeError) Unwrap() error { return e.Reason }

// upgrade makes r a WebSocket, with the headers that the caller has set for the answer. When r must
// be answered with an error, upgrade sets the headers of that answer and returns a HandshakeError.
func (h *Hub) upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	switch {
	case !isHandshake(r):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return nil, &HandshakeError{Status: http.StatusUpgradeRequired, Reason: errNoHandshake}
	case !h.handshakes.Allow():
		return nil, &HandshakeError{Status: http.StatusTooManyRequests, Reason: errHandshakes}
	}
	var refused *HandshakeError
	upgrader := h.upgrader
	upgrader.Error = func(_ http.ResponseWriter, _ *http.Request, status int, reason error) {
		refused = &HandshakeError{Status: status, Reason: reason}
	}
	ws, err := upgrader.Upgrade(hijacker{w}, r, w.Header())
	if refused == nil {
		return ws, err
	}
	switch refused.Status {
	case http.StatusForbidden:
		refused.Reason = errOrigin
	case http.StatusBadRequest:
		refused.Reason = errBadHandshake
	}
	return nil, refused
}

// isHandshake reports whether r asks for a WebSocket of version 13.
func isHandshake(r *http.Request) bool {
	return websocket.IsWebSocketUpgrade(r) && r.Header.Get("Sec-WebSocket-Version") == "13"
}

// sendBuffer is how much the kernel may hold for one client: enough for a distant client, and
// little enough that a client that does not read is noticed soon.
const sendBuffer = 64 << 10

// hijacker hands the upgrader a buffered connection in place of the server's.
type hijacker struct{ http.ResponseWriter }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	under := conn
	for {
		wrapper, ok := under.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		under = wrapper.NetConn()
	}
	if tcp, ok := under.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	return bufconn.New(conn), buffers, nil
}
