package push

import (
	"strconv"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	connections prometheus.Gauge
	frames      prometheus.Counter
	dropped     prometheus.Counter
	closed      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	return metrics{
		connections: f.NewGauge(prometheus.GaugeOpts{
			Name: "websocket_connections_active",
			Help: "Open WebSocket connections.",
		}),
		frames: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_ws_frames_total",
			Help: "Text frames written to WebSocket connections.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_ws_dropped_total",
			Help: "Updates that a newer one replaced before a slow client got them.",
		}),
		closed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ws_closed_total",
			Help: "WebSocket connections closed, by close code; 1006: broken, other: a client's " +
				"own code.",
		}, []string{"code"}),
	}
}

// countClose counts a closed connection. Clients choose their codes, so codes that are not known
// share a label.
func (m metrics) countClose(code int) {
	label := "other"
	switch code {
	case websocket.CloseNormalClosure, websocket.CloseNoStatusReceived,
		websocket.CloseAbnormalClosure, websocket.CloseProtocolError,
		CloseGoingAway, CloseTooBig, CloseTryLater, CloseProtocol, CloseNotAuthenticated,
		CloseForbidden, CloseAuthTimeout, CloseBehind, CloseOverLimit:
		label = strconv.Itoa(code)
	}
	m.closed.WithLabelValues(label).Inc()
}
