package broker

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// Why connections end or are refused: the label of the counters, and the attribute of the log
// lines.
const (
	reasonDisconnect     = "disconnect"      // the client sent a DISCONNECT
	reasonClosed         = "closed"          // the client, or the network, without one
	reasonNotReading     = "not_reading"     // the client does not read what it is sent
	reasonTakenOver      = "taken_over"      // by a connection with the same client id
	reasonShutdown       = "shutdown"        // of the server
	reasonInternal       = "internal"        // a fault of the server
	reasonTimeout        = "timeout"         // no CONNECT in time
	reasonFull           = "full"            // too many connections, in all or from the address
	reasonSessions       = "sessions"        // too many connections of the gateway
	reasonHandshake      = "handshake"       // of TLS or WebSocket
	reasonNoConnect      = "no_connect"      // the first packet is another
	reasonMemory         = "memory"          // too many bytes before the login
	reasonTooManyAttempt = "too_many_failed" // too many wrong secrets
)

// endReasons are the reasons that go with reason codes of MQTT v5.
var endReasons = map[byte]string{
	codeMalformed:         "malformed",
	codeProtocolError:     "protocol_error",
	codeBadVersion:        "version",
	codeBadClientID:       "client_id",
	codeBadCredential:     "credential",
	codeNotAuthorized:     "revoked",
	codeUnavailable:       "unavailable",
	codeShuttingDown:      reasonShutdown,
	codeBadAuthentication: "authentication_method",
	codeKeepAlive:         "keep_alive",
	codeTakenOver:         reasonTakenOver,
	codeReceiveMaximum:    "receive_maximum",
	codeTopicAlias:        "topic_alias",
	codeTooLarge:          "too_large",
	codeQuota:             reasonFull,
	codeRetain:            "will_retain",
	codeQoS:               "qos",
	codeTooManyAttempts:   reasonTooManyAttempt,
}

func endReason(code byte) string { return cmp.Or(endReasons[code], reasonInternal) }

// connJournal counts connections that ended or were refused, by reason, and logs them within
// limits.
type connJournal struct {
	log     *slog.Logger
	metrics *metrics
	endings logLimiter
	// apart from endings: strangers must not keep the lines of gateways out of the log
	refusals  logLimiter
	panics    logLimiter
	takeovers minuteCounter
}

// record counts and logs the end of c. err is what its serving returned.
func (j *connJournal) record(c *conn, err error, stopping bool) {
	switch {
	case stopping:
		c.end(reasonShutdown)
	case err != nil:
		c.end(c.endOf(err), slog.String("detail", err.Error()))
	default:
		c.end(reasonClosed)
	}
	e, r := c.ended(), &c.request
	address := c.wire.RemoteAddr().String()
	attrs := append([]slog.Attr{
		slog.String("gateway", shorten(r.username)),
		slog.String("client_id", shorten(r.clientID)),
		slog.String("address", address),
		slog.String("reason", e.reason),
	}, e.attrs...)
	switch {
	case c.login != nil:
		j.metrics.ended.WithLabelValues(e.reason).Inc()
		if e.reason == reasonTakenOver {
			j.takeovers.add()
		}
		if level, attrs, ok := limited(&j.endings, r.clientID+" "+e.reason, e.reason, attrs); ok {
			j.log.LogAttrs(context.Background(), level, "mqtt connection ended", attrs...)
		}
	case e.reason == reasonClosed && c.wire.bytesRead() == 0: // such as a load balancer that looks whether the port is open
		j.metrics.refused.WithLabelValues(e.reason).Inc()
	default:
		j.metrics.refused.WithLabelValues(e.reason).Inc()
		host, _, _ := net.SplitHostPort(address)
		if level, attrs, ok := limited(&j.refusals, host+" "+r.username+" "+e.reason, e.reason,
			attrs); ok {
			j.log.LogAttrs(context.Background(), level, "mqtt connection refused", attrs...)
		}
	}
}

// manyTakeovers is from how many take-overs of one client id in a minute two devices are likely to
// share it.
const manyTakeovers = 3

// limited returns the level and attributes of a line, with how often it happened since the last
// line of its kind; ok is false when the limiter holds it back.
func limited(
	l *logLimiter, kind, reason string, attrs []slog.Attr,
) (level slog.Level, _ []slog.Attr, ok bool) {
	count, ok := l.allow(kind)
	if !ok {
		return level, nil, false
	}
	level = slog.LevelInfo
	attrs = append(attrs, slog.Int("count", count))
	if reason == reasonTakenOver && count >= manyTakeovers {
		level = slog.LevelWarn
		attrs = append(attrs,
			slog.String("hint",
				"two devices may use this client id: give each its own suffix, key:suffix"))
	}
	return level, attrs, true
}

// shorten keeps what a client sent to a length fit for a log line.
func shorten(s string) string { return strings.ToValidUTF8(s[:min(len(s), 100)], "") }

// endOf is the reason that an error of reading or opening a connection stands for.
func (c *conn) endOf(err error) string {
	switch {
	case errors.Is(err, errNoMemory), errors.Is(err, errTooMuchBeforeLogin):
		return reasonMemory
	case errors.Is(err, errNoConnect):
		return reasonNoConnect
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return reasonClosed
	case errors.Is(err, errHandshake):
		return reasonHandshake
	}
	if f, ok := errors.AsType[*packetFault](err); ok {
		return endReason(f.code)
	}
	return reasonClosed
}

const (
	// logInterval is how often one kind of event has a line in the log.
	logInterval = time.Minute
	// maxLogLines is how many lines a limiter lets pass in logInterval, of all kinds.
	maxLogLines = 100
	// maxLogKinds is how many kinds a limiter remembers.
	maxLogKinds = 10_000
)

// logLimiter lets one line of a kind pass in logInterval, and maxLogLines in all. It is safe for
// concurrent use.
type logLimiter struct {
	mu     sync.Mutex
	kinds  map[string]*logKind
	window time.Time // the start of the interval that lines are counted in
	lines  int
}

type logKind struct {
	said time.Time
	held int // how often it was held back since
}

// allow reports whether there may be a line of this kind now, and how many events it stands for.
func (l *logLimiter) allow(kind string) (count int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.window) >= logInterval {
		l.window, l.lines = now, 0
	}
	k := l.kinds[kind]
	if k == nil {
		if l.kinds == nil || len(l.kinds) >= maxLogKinds {
			l.kinds = map[string]*logKind{}
		}
		k = &logKind{}
		l.kinds[kind] = k
	}
	k.held++
	if l.lines >= maxLogLines || now.Sub(k.said) < logInterval {
		return 0, false
	}
	count = k.held
	l.lines++
	k.said, k.held = now, 0
	return count, true
}

// minuteCounter counts events of the minute that has passed. It is safe for concurrent use.
type minuteCounter struct {
	mu        sync.Mutex
	minute    int64 // of Unix time
	now, last int
}

func (c *minuteCounter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn()
	c.now++
}

// count returns how many there were in the minute that has passed, or in the one that has begun if
// they are more.
func (c *minuteCounter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn()
	return max(c.now, c.last)
}

func (c *minuteCounter) turn() {
	minute := time.Now().Unix() / 60
	switch minute - c.minute {
	case 0:
	case 1:
		c.last, c.now = c.now, 0
	default:
		c.last, c.now = 0, 0
	}
	c.minute = minute
}
