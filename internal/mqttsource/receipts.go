package mqttsource

import (
	"context"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
)

// receiptSender sends receipts to publishers through the external broker.
type receiptSender struct {
	queue  chan outgoingReceipt
	unsent *prometheus.CounterVec // by reason
}

// outgoingReceipt is a receipt for the subscribers of a response topic.
type outgoingReceipt struct {
	client      *paho.Client
	topic       string
	correlation []byte
	receipt     ingest.Receipt
}

const (
	maxQueuedReceipts  = 1024
	receiptSendTimeout = 5 * time.Second
	// utf8Payload is the payload format indicator of UTF-8.
	utf8Payload byte = 1
)

func newReceiptSender(reg prometheus.Registerer) *receiptSender {
	r := &receiptSender{
		queue:  make(chan outgoingReceipt, maxQueuedReceipts),
		unsent: ingest.NoReceiptCounter(),
	}
	reg.MustRegister(r.unsent)
	return r
}

// isWanted reports whether p has a response topic that a receipt can be sent to.
func (r *receiptSender) isWanted(p paho.PublishReceived) bool {
	props := p.Packet.Properties
	if props == nil || props.ResponseTopic == "" {
		return false
	}
	gateway := ingest.ParseTopic(p.Packet.Topic).Gateway
	reason := ingest.NoReceipt(gateway, props.ResponseTopic, props.CorrelationData)
	if reason != "" {
		r.unsent.WithLabelValues(reason).Inc()
	}
	return reason == ""
}

// add queues the receipt of p. It never blocks: when the queue is full, the receipt is dropped
// and counted.
func (r *receiptSender) add(p paho.PublishReceived, receipt ingest.Receipt) {
	props := p.Packet.Properties
	select {
	case r.queue <- outgoingReceipt{p.Client, props.ResponseTopic, props.CorrelationData, receipt}:
	default:
		r.unsent.WithLabelValues(ingest.NoReceiptRoom).Inc()
	}
}

// run sends queued receipts until ctx ends.
func (r *receiptSender) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-r.queue:
			r.send(ctx, o)
		}
	}
}

func (r *receiptSender) send(ctx context.Context, o outgoingReceipt) {
	ctx, cancel := context.WithTimeout(ctx, receiptSendTimeout)
	defer cancel()
	_, err := o.client.PublishWithOptions(ctx, &paho.Publish{
		Topic:   o.topic,
		QoS:     1,
		Payload: o.receipt.JSON(time.Now()),
		Properties: &paho.PublishProperties{
			CorrelationData: o.correlation,
			ContentType:     "application/json",
			PayloadFormat:   new(utf8Payload),
		},
	}, paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	if err != nil { // the connection is lost: the publisher repeats its message and asks again
		r.unsent.WithLabelValues(ingest.NoReceiptListener).Inc()
	}
}
