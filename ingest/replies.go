package ingest

import (
	"context"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/prometheus/client_golang/prometheus"
)

// replies sends receipts to publishers by way of the external broker.
type replies struct {
	queue chan reply
	none  *prometheus.CounterVec // by why there was none
}

// reply is a receipt for whoever listens to a response topic.
type reply struct {
	client      *paho.Client
	topic       string
	correlation []byte
	receipt     Receipt
}

const (
	mostReplies  = 1024 // that wait to be sent
	replyTimeout = 5 * time.Second
)

func newReplies(reg prometheus.Registerer) *replies {
	r := &replies{queue: make(chan reply, mostReplies), none: NoReceiptCounter()}
	reg.MustRegister(r.none)
	return r
}

// NoReceiptCounter counts the receipts that were asked for and not given, by reason.
func NoReceiptCounter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "oei_mqtt_no_receipt_total",
		Help: "Messages with a response topic that were stored or refused as any other, but not answered, by reason.",
	}, []string{"reason"})
}

// wanted reports whether p is to be answered.
func (r *replies) wanted(p paho.PublishReceived) bool {
	props := p.Packet.Properties
	if props == nil || props.ResponseTopic == "" {
		return false
	}
	why := NoReceipt(ParseTopic(p.Packet.Topic).Gateway, props.ResponseTopic, props.CorrelationData)
	if why != "" {
		r.none.WithLabelValues(why).Inc()
	}
	return why == ""
}

// add has the receipt of p sent. It never blocks.
func (r *replies) add(p paho.PublishReceived, receipt Receipt) {
	props := p.Packet.Properties
	select {
	case r.queue <- reply{p.Client, props.ResponseTopic, props.CorrelationData, receipt}:
	default:
		r.none.WithLabelValues(NoReceiptRoom).Inc()
	}
}

// run sends replies until ctx ends.
func (r *replies) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-r.queue:
			r.send(ctx, a)
		}
	}
}

func (r *replies) send(ctx context.Context, a reply) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	_, err := a.client.PublishWithOptions(ctx, &paho.Publish{
		Topic: a.topic, QoS: 1, Payload: a.receipt.JSON(time.Now()),
		Properties: &paho.PublishProperties{
			CorrelationData: a.correlation,
			ContentType:     "application/json",
		},
	}, paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	if err != nil { // the connection is gone: the message comes again, and asks again
		r.none.WithLabelValues(NoReceiptListener).Inc()
	}
}
