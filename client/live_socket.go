package oei

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
)

const (
	codeProtocol  = 4400
	codeLogin     = 4401
	codeForbidden = 4403
	codeNoLogin   = 4408
	codeLagging   = 4413
	codeOverLimit = 4429

	connectTimeout = 15 * time.Second
	maxSilence     = 25 * time.Second // the server pings every 6 s
	writeTimeout   = 10 * time.Second
	maxFrame       = 64 << 20 // bytes
	maxReceived    = 1024     // messages that wait for the program
)

// socket is a WebSocket whose messages are read ahead, up to maxReceived. When that is full it is
// not read, and the server leaves out readings.
type socket struct {
	conn     *websocket.Conn
	token    string
	skew     time.Duration // of the server's clock
	received chan any      // messages; closed when the connection is lost
	err      error         // why; set before received is closed
	writing  sync.Mutex
	alive    context.Context // until the connection is lost
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// openSocket connects and logs in by the handshake.
func (c *Client) openSocket(ctx context.Context, token string) (*socket, error) {
	u := *c.origin
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	u.Path += "ws"
	header := http.Header{"User-Agent": {c.userAgent}}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	dialer := c.dialer()
	dialing, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, res, err := dialer.DialContext(dialing, u.String(), header)
	if err != nil {
		if res != nil {
			defer res.Body.Close()
			return nil, problemOf("openWebSocket", res)
		}
		return nil, fmt.Errorf("oei: openWebSocket: %w", err)
	}
	_ = res.Body.Close() // it is empty
	s := &socket{conn: conn, token: token, received: make(chan any, maxReceived)}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		s.skew = time.Until(date)
	}
	s.alive, s.stop = context.WithCancel(ctx)
	s.running.Go(s.read)
	s.running.Go(func() {
		<-s.alive.Done()
		_ = conn.Close() // which ends a read
	})
	return s, nil
}

// dialer connects as the HTTP client does.
func (c *Client) dialer() *websocket.Dialer {
	d := &websocket.Dialer{Proxy: http.ProxyFromEnvironment}
	if t, ok := c.http.Transport.(*http.Transport); ok {
		d.Proxy, d.NetDialContext = t.Proxy, t.DialContext
		d.NetDialTLSContext = t.DialTLSContext
		if t.TLSClientConfig != nil {
			d.TLSClientConfig = t.TLSClientConfig.Clone()
		}
	}
	if d.TLSClientConfig == nil {
		d.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	d.TLSClientConfig.NextProtos = []string{"http/1.1"}
	return d
}

// read decodes messages until the connection is lost.
func (s *socket) read() {
	defer close(s.received)
	defer s.stop()
	s.conn.SetReadLimit(maxFrame)
	ping := s.conn.PingHandler()
	s.conn.SetPingHandler(func(data string) error {
		// a closed connection is noticed by the read
		_ = s.conn.SetReadDeadline(time.Now().Add(maxSilence))
		return ping(data)
	})
	for {
		_ = s.conn.SetReadDeadline(time.Now().Add(maxSilence)) // likewise
		_, frame, err := s.conn.ReadMessage()
		if err != nil {
			s.err = err
			return
		}
		var m client.WsServerMessage
		if err := json.Unmarshal(frame, &m); err != nil {
			s.err = fmt.Errorf("message: %w", err)
			return
		}
		message, err := m.ValueByDiscriminator()
		if err != nil {
			continue // of a newer server
		}
		select {
		case s.received <- message:
		case <-s.alive.Done():
			s.err = context.Cause(s.alive)
			return
		}
	}
}

// send writes a message. It may be called by several goroutines.
func (s *socket) send(message any) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // an error is noticed by the write
	if err := s.conn.WriteJSON(message); err != nil {
		s.stop() // the read reports the loss
	}
}

// renewLogin sends a newer token before the login of the socket expires.
func (s *socket) renewLogin(login tokens, expiresAt time.Time) {
	left := time.Until(expiresAt.Add(-s.skew))
	if left < time.Second || left > 1000*time.Hour {
		return
	}
	timer := time.NewTimer(left * 9 / 10) // the session has renewed its token by then
	defer timer.Stop()
	select {
	case <-s.alive.Done():
	case <-timer.C:
		if token, err := login.token(s.alive, ""); err == nil && token != s.token {
			s.send(client.WsAuth{Type: client.WsAuthTypeAuth, Token: token})
		}
	}
}

// close ends the connection and waits for its goroutines.
func (s *socket) close() {
	_ = s.conn.WriteControl(websocket.CloseMessage,
		websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""),
		time.Now().Add(time.Second)) // it may be lost already
	s.stop()
	s.running.Wait()
}

// closeCode returns the code with which the connection was closed, and the reason.
func closeCode(err error) (int, string) {
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		return closed.Code, closed.Text
	}
	return websocket.CloseAbnormalClosure, ""
}
