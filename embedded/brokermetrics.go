package embedded

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
)

type brokerMetrics struct {
	refused *prometheus.CounterVec
	dropped prometheus.Counter

	retained   prometheus.Counter
	unanswered *prometheus.CounterVec // by why there was no receipt
}

func newBrokerMetrics(reg prometheus.Registerer, connected func() float64) *brokerMetrics {
	m := &brokerMetrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_mqtt_refused_connections_total", Help: "MQTT connections refused, by reason.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_mqtt_qos0_dropped_total", Help: "QoS 0 messages that were not taken because the service stopped.",
		}),
		retained: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_mqtt_retain_ignored_total", Help: "Messages that were to be retained; they were taken as any other.",
		}),
		unanswered: ingest.NoReceiptCounter(),
	}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "oei_mqtt_connections", Help: "Gateways connected to the embedded broker."}, connected)
	reg.MustRegister(m.refused, m.dropped, m.retained, m.unanswered, gauge)
	return m
}
