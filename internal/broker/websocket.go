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

// mostHeader is the largest head of a request that is read, in bytes.
const mostHeader = 16 << 10

// overWebSocket returns what makes a WebSocket that carries MQTT of the connections that before
// opens (MQTT v5, section 6).
func overWebSocket(before opener, origins []string) opener {
	upgrader := websocket.Upgrader{
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10, Subprotocols: []string{subprotocol},
		CheckOrigin: func(r *http.Request) bool { return origin.Allowed(r, origins) },
	}
	return func(conn net.Conn) (net.Conn, string, error) {
		conn, certified, err := before(conn)
		if err != nil {
			return nil, "", err
		}
		in := bufio.NewReader(io.LimitReader(conn, mostHeader))
		r, err := http.ReadRequest(in)
		if err != nil {
			return nil, "", fmt.Errorf("websocket: %w", err)
		}
		w := &response{conn: conn, in: in, header: http.Header{}}
		if !slices.Contains(websocket.Subprotocols(r), subprotocol) {
			http.Error(w, "this is an MQTT broker; connect by WebSocket with the subprotocol mqtt",
				http.StatusBadRequest)
			return nil, "", errors.Join(errNoSubprotocol, w.send())
		}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return nil, "", errors.Join(err, w.send())
		}
		return &frames{Conn: conn, ws: ws}, certified, nil
	}
}

// subprotocol is the name under which MQTT goes over WebSocket.
const subprotocol = "mqtt"

var errNoSubprotocol = errors.New("websocket: the client does not ask for mqtt")

// response is the answer to a request that was read from a connection by hand. It holds what a
// refusal says until send.
type response struct {
	conn   net.Conn
	in     *bufio.Reader
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *response) Header() http.Header         { return w.header }
func (w *response) WriteHeader(status int)      { w.status = status }
func (w *response) Write(b []byte) (int, error) { return w.body.Write(b) }

// Hijack gives the connection to whoever upgrades it.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.in, bufio.NewWriter(w.conn)), nil
}

// send sends a refusal; without one it does nothing.
func (w *response) send() error {
	if w.status == 0 {
		return nil
	}
	r := http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: true,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}
	return r.Write(w.conn)
}

// frames is a WebSocket as a stream of bytes: where a message ends means nothing to MQTT.
type frames struct {
	net.Conn
	ws      *websocket.Conn
	message io.Reader // the one that is being read; nil: the next
}

var errTextFrame = errors.New("websocket: mqtt goes in binary messages")

func (f *frames) Read(b []byte) (int, error) {
	for {
		if f.message == nil {
			kind, r, err := f.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errTextFrame
			}
			f.message = r
		}
		n, err := f.message.Read(b)
		if errors.Is(err, io.EOF) {
			f.message, err = nil, nil
		}
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// Write sends b as one message. It is not safe for concurrent use, nor with SetWriteDeadline: the
// broker holds a lock.
func (f *frames) Write(b []byte) (int, error) {
	if err := f.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *frames) SetWriteDeadline(t time.Time) error { return f.ws.SetWriteDeadline(t) }

// Close says goodbye if that can be said at once.
func (f *frames) Close() error {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = f.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(100*time.Millisecond))
	return f.Conn.Close()
}
