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
			Help: "Live connections now.",
		}),
		frames: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_ws_frames_total",
			Help: "Text frames written to live connections.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_ws_dropped_total",
			Help: "Updates not sent because a newer one replaced them for a slow client.",
		}),
		closed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ws_closed_total",
			Help: "Live connections ended, by close code; 1006 broke, other is a client's own code.",
		}, []string{"code"}),
	}
}

// end counts a close. Clients choose their codes, so those that mean nothing here share a label.
func (m metrics) end(code int) {
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
