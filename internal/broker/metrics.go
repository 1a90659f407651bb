package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
)

type metrics struct {
	refused *prometheus.CounterVec // before the login
	ended   *prometheus.CounterVec // after it
	dropped prometheus.Counter

	retained   prometheus.Counter
	unanswered *prometheus.CounterVec // by why there was no receipt
}

func newBrokerMetrics(
	reg prometheus.Registerer, connected func() float64, pending *pendingLogins,
) *metrics {
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_mqtt_refused_connections_total",
			Help: "MQTT connections refused or ended before the login, by reason.",
		}, []string{"reason"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_mqtt_ended_connections_total",
			Help: "MQTT connections of gateways that ended, by reason.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_mqtt_qos0_dropped_total",
			Help: "QoS 0 messages that were not taken because the service stopped.",
		}),
		retained: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_mqtt_retain_ignored_total",
			Help: "Messages that were to be retained; they were taken as any other.",
		}),
		unanswered: ingest.NoReceiptCounter(),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	reg.MustRegister(m.refused, m.ended, m.dropped, m.retained, m.unanswered,
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
