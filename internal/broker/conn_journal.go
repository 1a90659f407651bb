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
)

// Reasons why connections end or are refused: the label of the counters and an attribute of the log
// lines.
const (
	reasonDisconnect    = "disconnect"      // the client sent a DISCONNECT
	reasonClosed        = "closed"          // by the client or the network, without a DISCONNECT
	reasonNotReading    = "not_reading"     // the client does not read what it is sent
	reasonTakenOver     = "taken_over"      // by a connection with the same client id
	reasonShutdown      = "shutdown"        // of the server
	reasonInternal      = "internal"        // an error of the server
	reasonTimeout       = "timeout"         // no CONNECT in time
	reasonFull          = "full"            // too many connections, in all or from the address
	reasonSessions      = "sessions"        // too many connections of the gateway
	reasonHandshake     = "handshake"       // of TLS or WebSocket
	reasonNoConnect     = "no_connect"      // the first packet is not a CONNECT
	reasonMemory        = "memory"          // too many bytes before the login
	reasonTooManyFailed = "too_many_failed" // too many wrong secrets
)

// codeReasons are the reasons by reason code of MQTT v5.
var codeReasons = map[byte]string{
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
	codeTooManyAttempts:   reasonTooManyFailed,
}

func reasonOfCode(code byte) string { return cmp.Or(codeReasons[code], reasonInternal) }

// connJournal counts connections that ended or were refused, by reason, and logs them within
// limits.
type connJournal struct {
	log     *slog.Logger
	metrics *metrics
	endings logLimiter
	// separate from endings: unknown clients must not use up the log lines of gateways
	refusals  logLimiter
	panics    logLimiter
	takeovers minuteCounter
}

// record counts and logs the end of c. err is what serving it returned.
func (j *connJournal) record(c *conn, err error, stopping bool) {
	switch {
	case stopping:
		c.noteEnd(reasonShutdown)
	case err != nil:
		c.noteEnd(reasonOfError(err), slog.String("detail", err.Error()))
	default:
		c.noteEnd(reasonClosed)
	}
	e, r := c.ending(), &c.request
	address := c.socket.RemoteAddr().String()
	attrs := append([]slog.Attr{
		slog.String("gateway", truncate(r.username)),
		slog.String("client_id", truncate(r.clientID)),
		slog.String("address", address),
		slog.String("reason", e.reason),
	}, e.attrs...)
	switch {
	case c.login != nil:
		j.metrics.ended.WithLabelValues(e.reason).Inc()
		if e.reason == reasonTakenOver {
			j.takeovers.add()
		}
		if level, attrs, ok := limitedLine(&j.endings, r.clientID+" "+e.reason, e.reason,
			attrs); ok {
			j.log.LogAttrs(context.Background(), level, "mqtt connection ended", attrs...)
		}
	case e.reason == reasonClosed && c.socket.bytesRead() == 0:
		// Not logged: it may be a load balancer that checks whether the port is open.
		j.metrics.refused.WithLabelValues(e.reason).Inc()
	default:
		j.metrics.refused.WithLabelValues(e.reason).Inc()
		host, _, _ := net.SplitHostPort(address)
		if level, attrs, ok := limitedLine(&j.refusals, host+" "+r.username+" "+e.reason, e.reason,
			attrs); ok {
			j.log.LogAttrs(context.Background(), level, "mqtt connection refused", attrs...)
		}
	}
}

// minSharedTakeovers is how many take-overs of one client id in a minute suggest that two devices
// share it.
const minSharedTakeovers = 3

// limitedLine returns the level and attributes of a log line, with how many events it stands for;
// ok is false when the limiter suppresses it.
func limitedLine(
	l *logLimiter, kind, reason string, attrs []slog.Attr,
) (level slog.Level, _ []slog.Attr, ok bool) {
	count, ok := l.allow(kind)
	if !ok {
		return level, nil, false
	}
	level = slog.LevelInfo
	attrs = append(attrs, slog.Int("count", count))
	if reason == reasonTakenOver && count >= minSharedTakeovers {
		level = slog.LevelWarn
		attrs = append(attrs,
			slog.String("hint",
				"two devices may use this client id: give each its own suffix, key:suffix"))
	}
	return level, attrs, true
}

// truncate shortens a string from a client for a log line.
func truncate(s string) string { return strings.ToValidUTF8(s[:min(len(s), 100)], "") }

// reasonOfError returns the reason for an error of opening or reading a connection.
func reasonOfError(err error) string {
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
	if e, ok := errors.AsType[*packetError](err); ok {
		return reasonOfCode(e.code)
	}
	return reasonClosed
}
