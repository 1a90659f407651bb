package broker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/internal/origin"
)

// maxHTTPHeader is the maximum size of an upgrade request, in bytes.
const maxHTTPHeader = 16 << 10

// overWebSocket returns an opener that upgrades the connections of lower to WebSockets with MQTT
// (MQTT v5, section 6).
func overWebSocket(lower opener, origins []string) opener {
	upgrader := websocket.Upgrader{
		ReadBufferSize:  4 << 10,
		WriteBufferSize: 4 << 10,
		Subprotocols:    []string{subprotocol},
		CheckOrigin:     func(r *http.Request) bool { return origin.Allowed(r, origins) },
	}
	return func(conn net.Conn) (net.Conn, string, error) {
		conn, certName, err := lower(conn)
		if err != nil {
			return nil, "", err
		}
		in := bufio.NewReader(io.LimitReader(conn, maxHTTPHeader))
		r, err := http.ReadRequest(in)
		if err != nil {
			return nil, "", fmt.Errorf("websocket: %w", err)
		}
		w := &httpResponse{conn: conn, in: in, header: http.Header{}}
		if !slices.Contains(websocket.Subprotocols(r), subprotocol) {
			http.Error(w, "this is an MQTT broker; connect by WebSocket with the subprotocol mqtt",
				http.StatusBadRequest)
			return nil, "", errors.Join(errNoSubprotocol, w.send())
		}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return nil, "", errors.Join(err, w.send())
		}
		return &websocketConn{Conn: conn, ws: ws}, certName, nil
	}
}

// subprotocol is the WebSocket subprotocol of MQTT.
const subprotocol = "mqtt"

var errNoSubprotocol = errors.New("websocket: the client does not request the subprotocol mqtt")

// httpResponse is the http.ResponseWriter for a request that was read from a connection. It keeps
// an error response until send.
type httpResponse struct {
	conn   net.Conn
	in     *bufio.Reader
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *httpResponse) Header() http.Header         { return w.header }
func (w *httpResponse) WriteHeader(status int)      { w.status = status }
func (w *httpResponse) Write(b []byte) (int, error) { return w.body.Write(b) }

// Hijack returns the connection to the upgrader.
func (w *httpResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.in, bufio.NewWriter(w.conn)), nil
}

// send sends the error response, if there is one.
func (w *httpResponse) send() error {
	if w.status == 0 {
		return nil
	}
	r := http.Response{
		StatusCode:    w.status,
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.header,
		Close:         true,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
	}
	return r.Write(w.conn)
}

// websocketConn is a WebSocket as a stream of bytes. MQTT packets may be split over messages.
type websocketConn struct {
	net.Conn
	ws      *websocket.Conn
	message io.Reader // being read; nil: read the next one
}

var errTextFrame = errors.New("websocket: mqtt needs binary messages")

func (c *websocketConn) Read(b []byte) (int, error) {
	for {
		if c.message == nil {
			kind, r, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errTextFrame
			}
			c.message = r
		}
		n, err := c.message.Read(b)
		if errors.Is(err, io.EOF) {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// Write sends b as one message. It is not safe for concurrent use, nor together with
// SetWriteDeadline: callers hold the client's lock.
func (c *websocketConn) Write(b []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *websocketConn) SetWriteDeadline(t time.Time) error { return c.ws.SetWriteDeadline(t) }

// Close sends a close message if that is possible at once.
func (c *websocketConn) Close() error {
	closeMessage := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = c.ws.WriteControl(websocket.CloseMessage, closeMessage,
		time.Now().Add(100*time.Millisecond))
	return c.Conn.Close()
}
