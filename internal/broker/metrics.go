package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
)

type metrics struct {
	refused *prometheus.CounterVec // before the login
	ended   *prometheus.CounterVec // after it
	dropped prometheus.Counter

	retained  prometheus.Counter
	noReceipt *prometheus.CounterVec // by reason
}

func newMetrics(
	reg prometheus.Registerer, connected func() float64, pending *pendingLogins,
) *metrics {
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_mqtt_connections_refused_total",
			Help: "MQTT connections refused or ended before the login, by reason.",
		}, []string{"reason"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_mqtt_connections_ended_total",
			Help: "MQTT connections of gateways that ended, by reason.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_mqtt_qos0_dropped_total",
			Help: "Messages of QoS 0 that were dropped because the server stopped.",
		}),
		retained: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_mqtt_retain_ignored_total",
			Help: "Messages with the RETAIN flag, which were stored and not retained.",
		}),
		noReceipt: ingest.NoReceiptCounter(),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	reg.MustRegister(m.refused, m.ended, m.dropped, m.retained, m.noReceipt,
		gauge("oei_mqtt_connections", "Gateways connected to the embedded broker.", connected),
		gauge("oei_mqtt_pending_connections", "MQTT connections that have not logged in yet.",
			func() float64 {
				conns, _ := pending.load()
				return float64(conns)
			}),
		gauge("oei_mqtt_pending_bytes",
			"Bytes received on MQTT connections that have not logged in yet.", func() float64 {
				_, bytes := pending.load()
				return float64(bytes)
			}))
	return m
}
